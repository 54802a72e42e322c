"""Uploads, variants and releases. Each call is one transaction with its event."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Max

from agent.inference import policy_card
from agent.wire import manifest as wire
from fleet import text
from fleet.audit.services import announce, record
from fleet.catalog import store
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
from fleet.errors import Refused
from fleet.trust.services import vouch
from fleet.units import file_words

MAX_CARD = policy_card.MAX_CARD
MAX_EVALUATION = 2 * 1024**3

#: Evaluators are code that the server's administrator installed; an upload can only name one.
EVALUATORS = {"tabletop": "fleet.demo.evaluator:evaluate"}


def evaluators() -> list[str]:
    return sorted(EVALUATORS)


def add_version(
    model_name, upload, file_name, card=None, evaluation=None, evaluator="", notes="", by=None
) -> ModelVersion:
    """Store an upload as the next version of a model (made when it is new).

    upload and evaluation are Django files, card the bytes of a policy card. Raises Refused with the reason; then
    nothing is stored under the model.
    """
    from fleet.optimizer import inputs, intake
    from fleet.optimizer.errors import IntakeError

    name = text.slug(model_name, "A model's name")
    notes = text.notes(notes, "A version's notes", 1024)
    if evaluator and evaluator not in EVALUATORS:
        raise Refused(f"There is no evaluator {evaluator}; installed are {', '.join(evaluators())}.")
    if evaluator and not card:
        raise Refused(f"The evaluator {evaluator} needs a policy card to run episodes. Add the card, or leave it out.")
    card_data = _checked_card(card)
    digest, size = store.put(upload.chunks(), settings.MAX_UPLOAD_BYTES)
    try:
        accepted = intake.accept(store.path(digest), Path(file_name).name)
    except IntakeError as problem:
        _forget(digest)
        raise _said(problem) from problem
    evaluation_digest = ""
    if evaluation:
        evaluation_digest, _ = store.put(evaluation.chunks(), MAX_EVALUATION)
        try:
            inputs.examine(store.path(evaluation_digest))
        except IntakeError as problem:
            _forget(evaluation_digest)
            raise _said(problem) from problem
    with transaction.atomic():
        model, _ = Model.objects.get_or_create(name=name)
        Model.objects.select_for_update().get(pk=model.pk)  # two uploads at once must not take the same number
        number = model.versions.aggregate(n=Max("number"))["n"] or 0
        version = ModelVersion.objects.create(
            model=model,
            number=number + 1,
            format=accepted.format,
            file_name=Path(file_name).name[:255],
            digest=digest,
            size=size,
            card=card_data,
            evaluation_digest=evaluation_digest,
            evaluator=evaluator,
            notes=notes,
            uploaded_by=by,
        )
        record("version.uploaded", f"{version} was uploaded, {file_words(size)}", actor=by, version=version)
    return version


def _said(problem: Exception) -> Refused:
    """The optimizer's words as a sentence of its own."""
    words = str(problem)
    return Refused(f"{words[:1].upper()}{words[1:]}.")


def _checked_card(card: bytes | None) -> dict:
    if not card:
        return {}
    try:
        policy_card.read(card)
    except policy_card.CardError as problem:
        raise Refused(str(problem)) from problem
    return json.loads(card)


def _forget(digest: str) -> None:
    """Drop a refused upload, unless an accepted one has the same bytes."""
    known = ModelVersion.objects.filter(digest=digest) | ModelVersion.objects.filter(evaluation_digest=digest)
    if not known.exists():
        store.path(digest).unlink(missing_ok=True)


def manifest_bytes(variant: Variant) -> bytes:
    """The bytes whose digest is the variant's manifest digest."""
    return wire.encode(msgspec.convert(variant.manifest, wire.Manifest))


def add_variant(trial: Trial, folder: Path) -> Variant:
    """Store the artifact of a trial that passed, cut into parts, and make it a variant of the trial's version."""
    from fleet.optimizer import packaging

    version = trial.version
    made = packaging.package(
        folder,
        store.put_bytes,
        model=version.model.name,
        version=str(version.number),
        variant=trial.name,
        device_class=trial.device_class,
        before=_before(trial),
        read=store.read,
    )
    known = Variant.objects.filter(trial=trial).first()
    if known is not None and known.manifest["digest"] == made.digest:
        return known  # with sources of today it would be another manifest, and devices would fetch nothing for it
    data = wire.encode(made)
    digest = wire.digest_of(data)
    variant, _ = Variant.objects.update_or_create(
        trial=trial,
        defaults={
            "version": version,
            "device_class": trial.device_class,
            "manifest_digest": digest,
            "manifest": json.loads(data),
            "bytes": made.size,
        },
    )
    return variant


def _before(trial: Trial) -> wire.Manifest | None:
    """What the class's devices got with the model's last release before this version."""
    earlier = Variant.objects.filter(
        version__model=trial.version.model_id,
        version__number__lt=trial.version.number,
        device_class=trial.device_class,
        releases__isnull=False,
    )
    last = earlier.order_by("version__number", "releases__number").last()
    return msgspec.convert(last.manifest, wire.Manifest) if last else None


def proposed(version: ModelVersion) -> dict[str, Variant]:
    """The winner of each class that has one."""
    winners = version.variants.filter(trial__verdict="won").select_related("trial", "version__model")
    return {variant.device_class: variant for variant in winners}


def unproven(version: ModelVersion) -> bool:
    """Whether all that is known of its variants is how they answer made-up inputs.

    An evaluator runs episodes through the policy card; without one it can show nothing.
    """
    return not version.evaluation_digest and not (version.evaluator and version.card)


@transaction.atomic
def create_release(
    version: ModelVersion, variants: Iterable[Variant], by, notes="", *, confirmed: bool = False
) -> Release:
    """One variant for each class that the release serves. A variant both slower and less faithful is refused.

    One that has not won needs notes, which say why; `confirmed`: a person answers for a version that is `unproven`.
    """
    chosen = list(variants)
    notes = text.notes(notes, "A release's notes", 512)
    if not chosen:
        raise Refused("A release needs at least one variant.")
    classes = [variant.device_class for variant in chosen]
    if len(set(classes)) != len(classes):
        raise Refused("A release has one variant for each class, not two.")
    for variant in chosen:
        if variant.version_id != version.pk:
            raise Refused(f"{variant} belongs to another version.")
        if variant.trial.verdict not in ("won", "passed"):
            raise Refused(f"{variant} did not pass its gates: {variant.trial.reason}")
    if unproven(version) and not confirmed:
        raise Refused(
            "Nothing has shown that these variants do their job: the version has neither an evaluation set nor an "
            "evaluator with a policy card. Confirm that they are released all the same."
        )
    won = set(version.trials.filter(verdict="won").values_list("device_class", flat=True))
    for variant in chosen:
        if variant.trial.verdict != "won" and variant.device_class in won and not notes:
            raise Refused(f"{variant.trial.name} is not the winner of its class: say in the notes why it is released.")
    ModelVersion.objects.select_for_update().get(pk=version.pk)
    number = (version.releases.aggregate(n=Max("number"))["n"] or 0) + 1
    release = Release.objects.create(version=version, number=number, notes=notes, created_by=by)
    release.variants.set(chosen)
    vouch(chosen)
    words = f"{release} for {', '.join(sorted(classes)).replace('_', ' ')}"
    record("release.created", words, detail=notes, actor=by, version=version)
    announce(f"version:{version.pk}")
    return release
