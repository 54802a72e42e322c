"""Uploading a version, starting its optimization, making a release of it."""

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agent.inference import policy_card
from fleet.catalog.models import ModelVersion, Variant
from fleet.catalog.services import MAX_EVALUATION, evaluators, unproven
from fleet.dashboard.figures import file_size
from fleet.dashboard.forms.widgets import Form, dress
from fleet.dashboard.words import CLASS_LABELS, clauses
from fleet.sentences import said

GOALS = {
    "balanced": _("balanced: what the class needs"),
    "realtime": _("realtime: the fastest that still does its job"),
    "accuracy": _("accuracy: the least lost"),
}
BUDGETS = {
    "brief": _("brief: 400 episodes"),
    "quick": _("quick: 1,000 episodes"),
    "full": _("full: 4,000 episodes"),
}
BITS = {"": _("as the class says"), "8": "8", "16": "16", "32": "32"}


class UploadForm(Form):
    name = forms.CharField(
        max_length=64,
        label=_("Model"),
        help_text=_("A name that exists gets its next version; a new one is made."),
    )
    upload = forms.FileField(
        label=_("File"),
        help_text=_("A torch.export archive (.pt2) or an ONNX model (.onnx). Pickles are refused."),
        widget=forms.FileInput(attrs={"accept": ".pt2,.onnx"}),
    )
    card = forms.FileField(
        required=False,
        label=_("Policy card"),
        help_text=_(
            "JSON: inputs, normalization, tokenizer, actions, rate. A device needs it to act by itself, an "
            "evaluator to run episodes; without it programs on the device send the model its tensors."
        ),
        widget=forms.FileInput(attrs={"accept": ".json,application/json"}),
    )
    evaluation = forms.FileField(
        required=False,
        label=_("Evaluation set"),
        help_text=_("An .npz file of recorded observations, one array for each input; fidelity is measured on them."),
        widget=forms.FileInput(attrs={"accept": ".npz"}),
    )
    evaluator = forms.ChoiceField(
        label=_("Evaluator"),
        required=False,
        help_text=_("Runs whole episodes and counts how many succeed. Needs a policy card."),
        choices=(),
    )
    notes = forms.CharField(label=_("Notes"), required=False, max_length=1024, widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["evaluator"].choices = [("", _("none")), *((name, name) for name in evaluators())]

    def clean_upload(self):
        upload = self.cleaned_data["upload"]
        if not upload.name.lower().endswith((".pt2", ".onnx")):
            raise forms.ValidationError(
                gettext("{upload} is neither a .pt2 nor an .onnx file.").format(upload=upload.name[:80])
            )
        return _bounded(upload, settings.MAX_UPLOAD_BYTES)

    def clean_evaluation(self):
        given = self.cleaned_data["evaluation"]
        return _bounded(given, MAX_EVALUATION) if given else None

    def clean_card(self) -> bytes | None:
        """The card's bytes, once they are known to be one."""
        given = self.cleaned_data["card"]
        if not given:
            return None
        data = _bounded(given, policy_card.MAX_CARD).read()
        try:
            policy_card.read(data)
        except policy_card.CardError as problem:
            raise forms.ValidationError(f"{str(problem)[0].upper()}{str(problem)[1:]}.") from problem
        return data


def _bounded(given, limit: int):
    if given.size > limit:
        raise forms.ValidationError(
            gettext("The file has {size}, the limit is {limit}.").format(
                size=file_size(given.size), limit=file_size(limit)
            )
        )
    return given


def _bits(label: str) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(choices=list(BITS.items()), coerce=int, empty_value=None, required=False, label=label)


def _limit(label: str, help_text: str) -> forms.FloatField:
    return forms.FloatField(required=False, min_value=0.001, max_value=1_000_000, label=label, help_text=help_text)


def _weight(label: str, help_text: str) -> forms.FloatField:
    return forms.FloatField(required=False, min_value=0, max_value=1000, label=label, help_text=help_text)


class OptimizeForm(Form):
    device_class = forms.ChoiceField(choices=list(CLASS_LABELS.items()), label=_("Device class"))
    goal = forms.ChoiceField(label=_("Goal"), choices=list(GOALS.items()))
    budget = forms.ChoiceField(
        label=_("Budget"),
        choices=list(BUDGETS.items()),
        initial="quick",
        help_text=_("For each finalist. Full also tries more and distils longer, and takes half an hour."),
    )
    compression = forms.FloatField(
        label=_("Compression"),
        required=False,
        min_value=0.1,
        max_value=0.9,
        help_text=_("Share of the original's bytes that must go, 0.1 to 0.9. Empty: as the class says."),
    )
    bits = _bits(_("Bits"))
    pruning = forms.FloatField(
        label=_("Pruning"),
        required=False,
        min_value=0.1,
        max_value=0.5,
        help_text=_("Share of channels and heads to cut, 0.1 to 0.5. Empty: as the class says."),
    )
    max_success_loss = forms.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        label=_("Success loss limit, points"),
        help_text=_("A candidate that loses more is not chosen. Empty: the usual limit."),
    )
    max_latency_ms = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=60_000,
        label=_("Latency limit, ms"),
        help_text=_("Of the 95th percentile. Empty: the card's deadline."),
    )
    max_mb = _limit(_("Size limit, MB"), _("Of the model file. Empty: none."))
    max_memory_mib = _limit(_("Memory limit, MiB"), _("Of the loaded model. Empty: half of what the class has."))
    latency = _weight(_("Weight of latency (α)"), _("Latency as a share of its limit. Empty: as the goal says."))
    size = _weight(_("Weight of size (β)"), _("Bytes as a share of the original's."))
    shortage = _weight(
        _("Weight of missing memory (γ)"),
        _("Memory beyond what the class has, as a share of that."),
    )

    def settings(self) -> dict[str, Any]:
        """The cleaned data as `start_optimization` takes it."""
        given = dict(self.cleaned_data)
        weights = {name: given.pop(name) for name in ("latency", "size", "shortage")}
        megabytes, mebibytes = given.pop("max_mb"), given.pop("max_memory_mib")
        given["max_bytes"] = None if megabytes is None else round(megabytes * 10**6)
        given["max_memory_bytes"] = None if mebibytes is None else round(mebibytes * 2**20)
        parts = {name: {key: given.pop(f"{key}:{name}") for key in ("bits", "pruning")} for name in self.parts}
        return {**given, "weights": weights, "parts": parts}

    def part_fields(self) -> list[forms.BoundField]:
        return [self[f"{key}:{name}"] for name in self.parts for key in ("bits", "pruning")]

    def __init__(self, *args: Any, version: ModelVersion, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["device_class"].help_text = _defaults()
        if version.format == "onnx":
            self.fields["pruning"].help_text = gettext(
                "Has no effect here: cutting needs the program, so upload a .pt2."
            )
        self.parts = list(version.card.get("parts", {}))
        for name in self.parts:
            self.fields[f"bits:{name}"] = _bits(gettext("Bits, {name}").format(name=name))
            self.fields[f"pruning:{name}"] = forms.FloatField(
                required=False,
                min_value=0,
                max_value=0.5,
                label=gettext("Pruning, {name}").format(name=name),
                help_text=gettext("0 cuts nothing there."),
            )
        dress(self)


def _defaults() -> str:
    """What each class starts from."""
    from fleet.optimizer.recipe import DEFAULTS  # only this form needs the optimizer

    said = (
        gettext("{device_class}: compression {compression}, {bits} bits, pruning {pruning}").format(
            device_class=CLASS_LABELS[name],
            compression=f"{recipe.compression:g}",
            bits=recipe.bits,
            pruning=f"{recipe.pruning:g}",
        )
        for name, recipe in DEFAULTS.items()
    )
    return gettext("{clauses}.").format(clauses=clauses(said))


class ReleaseForm(Form):
    """One choice for each class that has a variant which passed; the winner is chosen beforehand."""

    notes = forms.CharField(
        label=_("Notes"),
        required=False,
        max_length=512,
        help_text=_("Where one is chosen that has not won, they say why."),
    )

    def __init__(self, *args: Any, version: ModelVersion, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        usable = list(version.variants.filter(trial__verdict__in=("won", "passed")).select_related("trial"))
        winners = {variant.device_class: variant for variant in usable if variant.trial.verdict == "won"}
        for name, label in CLASS_LABELS.items():
            mine = {str(variant.pk): variant for variant in usable if variant.device_class == name}
            if not mine:
                continue
            choices = [("", gettext("leave this class out")), *((pk, _named(variant)) for pk, variant in mine.items())]
            self.fields[name] = forms.TypedChoiceField(
                choices=choices,
                coerce=mine.get,
                empty_value=None,
                required=False,
                label=label.capitalize(),
                initial=str(winners[name].pk) if name in winners else "",
            )
        if unproven(version):
            self.fields["confirmed"] = forms.BooleanField(
                label=gettext("Release without proof"),
                help_text=gettext(
                    "Neither an evaluation set nor an evaluator with a policy card came with this version: it "
                    "is known how its variants answer made-up inputs, not whether they still do their job."
                ),
            )
        self.order_fields([*CLASS_LABELS, "notes", "confirmed"])
        dress(self)

    @property
    def chosen(self) -> list[Variant]:
        return [self.cleaned_data[name] for name in CLASS_LABELS if self.cleaned_data.get(name)]


def _named(variant: Variant) -> str:
    won = gettext(", the winner") if variant.trial.verdict == "won" else ""
    return gettext("{trial} ({bytes} to transfer{won})").format(
        trial=said(variant.trial.name), bytes=file_size(variant.bytes), won=won
    )
