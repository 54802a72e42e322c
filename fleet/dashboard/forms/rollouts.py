"""Starting a rollout."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from django import forms
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from fleet.dashboard.forms.widgets import Form, RateField, dress
from fleet.errors import Refused
from fleet.rollouts.pace import DAYS, Window
from fleet.rollouts.plan import PRESETS, PhasePlan, Terms
from fleet.rollouts.policy import Action, Limits

DEADLINES = {
    "3600": _("an hour"),
    "86400": _("a day"),
    "604800": _("a week"),
    "2592000": _("30 days"),
}
ACTIONS = {
    "pause": _("pause, and let a person decide"),
    "abort": _("cancel the rollout"),
    "roll_back": _("cancel it and bring every device back to what it ran"),
}
DAY_LABELS = (_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun"))
#: The phases of a plan of one's own: what is empty is left out.
OWN = "own"
OWN_ROWS = 6


class TransferForm(Form):
    """How fast models go out, to all devices together."""

    rate = RateField(
        label=_("Transfers at most"),
        help_text=_("To the whole fleet, also of what is under way."),
    )


def plans() -> list[tuple[str, str]]:
    return [*((name, label) for name, (label, _) in PRESETS.items()), (OWN, gettext("Phases of my own"))]


class SizeField(forms.CharField):
    """`5` is up to five devices, `10 %` up to a tenth of them, `all` everyone."""

    def clean(self, value) -> tuple[float | None, int | None] | None:
        """(percent, count), None where nothing was typed."""
        given = super().clean(value).strip().lower()
        if not given:
            return None
        if given == "all":
            return 100.0, None
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(%?)", given)
        if not found or (not found[2] and "." in found[1]):
            raise forms.ValidationError(gettext("A size is a number of devices (5), a percentage (10 %) or “all”."))
        return (float(found[1]), None) if found[2] else (None, int(found[1]))


def _percent(label: str, **given) -> forms.FloatField:
    return forms.FloatField(required=False, min_value=0, max_value=10_000, label=label, **given)


def _shown(share: float | None) -> str:
    return "" if share is None else f"{share * 100:g}"


class RolloutForm(Form):
    """The release, the target and the plan's name stand in the address; what it is held to is asked here."""

    deadline = forms.TypedChoiceField(
        choices=list(DEADLINES.items()),
        coerce=int,
        initial="604800",
        label=_("Each device has"),
        help_text=_(
            "From when it is told. One that has not ended by then is given up as timed out; an offline one waits "
            "until then."
        ),
    )
    on_error = forms.ChoiceField(
        choices=list(ACTIONS.items()), required=False, label=_("When too many fail, or it does worse")
    )
    latency_rise = _percent(_("p95 latency may rise by, %"))
    error_rise = _percent(_("Failed or not finite decisions may rise by, points"))
    success_loss = _percent(_("Task success may fall by, points"))
    energy_rise = _percent(_("Energy per action may rise by, %"))
    most_in_flight = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=1_000_000,
        label=_("Devices at a time, at most"),
        help_text=_("Empty: no limit."),
    )
    per_minute = forms.FloatField(
        required=False,
        min_value=0,
        max_value=100_000,
        label=_("Devices a minute"),
        help_text=_("With jitter. Empty: no limit."),
    )
    window_start = forms.TimeField(
        required=False,
        label=_("Window from"),
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
    )
    window_end = forms.TimeField(
        required=False,
        label=_("Window to"),
        widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        help_text=_("By the clock where each device is; it may go past midnight."),
    )
    days = forms.MultipleChoiceField(
        choices=list(zip(DAYS, DAY_LABELS, strict=True)),
        required=False,
        label=pgettext_lazy("weekdays", "On"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None ticked is every day."),
    )
    zone_name = forms.CharField(
        required=False,
        max_length=64,
        initial="UTC",
        label=_("Time zone of devices that have none"),
        help_text="Europe/Berlin",
    )
    only_idle = forms.BooleanField(
        required=False,
        label=_("Only while the robot is idle"),
        help_text=_("Its program says so through the agent's local API."),
    )
    starts_at = forms.DateTimeField(
        required=False,
        label=_("Start at (UTC)"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
        help_text=_("Empty: at once."),
    )
    continuous = forms.BooleanField(
        required=False,
        label=_("Take in devices that join the group later"),
        help_text=_("It goes on until it is canceled or a newer rollout to the group begins."),
    )
    needs_approval = forms.BooleanField(
        required=False,
        label=_("A second person has to approve it"),
        help_text=_("Nothing is told before."),
    )
    back = forms.BooleanField(
        required=False,
        label=_("Go back to the older version"),
        help_text=_("Signed as your order: without it devices refuse a version that is older than what they ran."),
    )

    def __init__(self, data=None, *, plan: str = "once", to_group: bool = True) -> None:
        self.plan = plan
        self._preset: Sequence[PhasePlan] = PRESETS[plan][1] if plan in PRESETS else ()
        first = self._preset[0].limits if self._preset else Limits(latency_rise=0.5, error_rise=0.01)
        self._rows = range(len(self._preset) or OWN_ROWS)
        super().__init__(
            data,
            initial={
                name: _shown(getattr(first, name))
                for name in ("latency_rise", "error_rise", "success_loss", "energy_rise")
            },
        )
        self.fields.update(self._of_phases())
        if not to_group:
            del self.fields["continuous"]
        dress(self)

    def _of_phases(self) -> dict[str, forms.Field]:
        made: dict[str, forms.Field] = {}
        for row in self._rows:
            phase = self._preset[row] if row < len(self._preset) else None
            limits = phase.limits if phase else None
            last = phase is not None and row == len(self._preset) - 1
            made[f"size_{row}"] = SizeField(
                required=False,
                max_length=16,
                initial=_size(phase),
                label=gettext("Size of phase {row}").format(row=row + 1),
            )
            made[f"success_{row}"] = _percent(
                gettext("Success of phase {row}, %").format(row=row + 1),
                initial="" if last else _shown(limits.success if limits else None),
            )
            made[f"failures_{row}"] = _percent(
                gettext("Failures of phase {row}, %").format(row=row + 1),
                initial=_shown(limits.failures if limits else None),
            )
            made[f"soak_{row}"] = forms.FloatField(
                required=False,
                min_value=0,
                max_value=43_200,
                label=gettext("Soak time of phase {row}, minutes").format(row=row + 1),
                initial=f"{limits.soak / timedelta(minutes=1):g}" if limits and limits.soak else "",
            )
        return made

    @property
    def phases(self) -> list[list[forms.BoundField]]:
        """One row of fields for each phase."""
        return [[self[f"{name}_{row}"] for name in ("size", "success", "failures", "soak")] for row in self._rows]

    def clean(self):
        given = super().clean()
        if bool(given.get("window_start")) != bool(given.get("window_end")):
            self.add_error("window_end", gettext("A window has a start and an end."))
        return given

    def plans(self) -> tuple[PhasePlan, ...]:
        """As typed; the plan in the address where nothing was. Raises Refused."""
        given = self.cleaned_data
        compared = {
            name: None if given.get(name) is None else given[name] / 100
            for name in ("latency_rise", "error_rise", "success_loss", "energy_rise")
        }
        action = Action(given.get("on_error") or "pause")
        rows = [row for row in self._rows if given.get(f"size_{row}")]
        if not rows:
            if self.plan == OWN:
                raise Refused(gettext("Give at least one phase a size; the last one goes to all."))
            return tuple(replace(phase, limits=replace(phase.limits, on_error=action)) for phase in self._preset)
        made = []
        for row in rows:
            percent, count = given[f"size_{row}"]
            success, failures = given.get(f"success_{row}"), given.get(f"failures_{row}")
            limits = Limits(
                success=0.0 if success is None else success / 100,
                failures=None if failures is None else failures / 100,
                on_error=action,
                soak=timedelta(minutes=given.get(f"soak_{row}") or 0),
                **compared,
            )
            made.append(PhasePlan(percent, count, limits))
        return tuple(made)

    def terms(self) -> Terms:
        given = self.cleaned_data
        window = None
        if given.get("window_start") and given.get("window_end"):
            days = frozenset(DAYS.index(day) for day in given["days"])
            window = Window(given["window_start"], given["window_end"], days)
        starts_at = given.get("starts_at")
        return Terms(
            most_in_flight=given.get("most_in_flight") or 0,
            per_minute=given.get("per_minute") or 0.0,
            window=window,
            zone_name=given.get("zone_name") or "UTC",
            only_idle=given["only_idle"],
            starts_at=starts_at.replace(tzinfo=UTC) if starts_at else None,
            continuous=given.get("continuous", False),
            needs_approval=given["needs_approval"],
        )


def _size(phase: PhasePlan | None) -> str:
    if phase is None:
        return ""
    if phase.count is not None:
        return str(phase.count)
    return "all" if phase.percent == 100 else f"{phase.percent:g} %"
