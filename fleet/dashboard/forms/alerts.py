"""What people say of rules, silences and channels. Values are typed with their units."""

from datetime import timedelta

from django import forms
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fleet.alerts.conditions import CONDITIONS, Subject
from fleet.alerts.models import Channel, Rule
from fleet.alerts.policy import Severity
from fleet.dashboard.forms.widgets import Form
from fleet.search import measures
from fleet.search.measures import Measure
from fleet.sentences import said, said_later, said_name

SEVERITIES = [(severity.value, said_later(severity.value.capitalize())) for severity in Severity]
#: Hours → what a silence lasts.
SILENCES = {
    "1": _("1 hour"),
    "4": _("4 hours"),
    "24": _("a day"),
    "168": _("a week"),
    "720": _("30 days"),
}


def typed(measure: Measure, value: float) -> str:
    """A value as somebody would type it: `10 min`, `80 °C`."""
    if measure is measures.SECONDS:
        for unit in ("d", "h", "min"):
            if value and value % measure.units[unit] == 0:
                return f"{value / measure.units[unit]:g} {unit}"
        return f"{value:g} s"
    unit = next((name for name, size in measure.units.items() if size == 1.0), "")
    return f"{value:g} {unit}".strip()


class DurationField(forms.CharField):
    """Seconds, typed as `5 min`; empty is 0."""

    def __init__(self, label: str, help_text: str) -> None:
        super().__init__(label=label, help_text=help_text, required=False, max_length=20)

    def clean(self, value) -> float:
        given = super().clean(value)
        if given in ("", "0"):
            return 0.0
        seconds = measures.SECONDS.parse(given)
        if seconds is None:
            raise forms.ValidationError(gettext("Give a number with s, min, h or d, as in 5 min."))
        return seconds


class RuleForm(Form):
    name = forms.CharField(label=_("Name"), max_length=64)
    severity = forms.ChoiceField(label=_("Severity"), choices=SEVERITIES, initial=Severity.WARNING)
    condition = forms.ChoiceField(label=_("Condition"))
    comparison = forms.ChoiceField(choices=[(">", _("is above")), ("<", _("is below"))], label=_("Compared"))
    threshold = forms.CharField(
        label=_("Threshold"),
        max_length=20,
        error_messages={"required": _("Say from which value on.")},
        help_text=_("With its unit, as in 80 °C, 100 ms, 90 %, 5 W, 2 min."),
    )
    clear = forms.CharField(
        max_length=20,
        required=False,
        label=_("Recovers at"),
        help_text=_(
            "Further off than the threshold, so that a value that swings around it is one alert. "
            "Empty: at the threshold."
        ),
    )
    for_seconds = DurationField(_("For"), _("How long it has to hold before an alert opens. Empty: at once."))
    clear_seconds = DurationField(
        _("Well for"), _("How long it has to be well before the alert is over. Empty: at once.")
    )
    query = forms.CharField(
        max_length=500,
        required=False,
        label=_("Devices"),
        help_text=_("A search, as on the list of devices. Empty: all in service."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    #: A state has no threshold, whatever stands in the fields that a script hides.
    use_required_attribute = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        condition = CONDITIONS.get(self.data.get("condition", "")) if self.is_bound else None
        if condition is not None and condition.measure is None:
            self.fields["comparison"].required = self.fields["threshold"].required = False
        self.fields["condition"].choices = [
            (label, [(each.key, said(each.label)) for each in CONDITIONS.values() if each.subject is subject])
            for label, subject in (
                (gettext("Of a device"), Subject.DEVICE),
                (gettext("Of this server"), Subject.SERVER),
            )
        ]
        attrs = self.fields["condition"].widget.attrs
        attrs["data-states"] = " ".join(each.key for each in CONDITIONS.values() if each.measure is None)
        attrs["data-server"] = " ".join(each.key for each in CONDITIONS.values() if each.subject is Subject.SERVER)
        self.fields["query"].widget.attrs["data-complete"] = reverse("devices.complete")

    @staticmethod
    def initial_of(rule: Rule) -> dict[str, str]:
        """A rule as somebody would type it."""
        measure = CONDITIONS[rule.condition].measure
        given = {name: getattr(rule, name) for name in ("name", "severity", "condition", "comparison", "query")}
        for name in ("threshold", "clear"):
            value = getattr(rule, name)
            given[name] = "" if value is None or measure is None else typed(measure, value)
        for name in ("for_seconds", "clear_seconds"):
            given[name] = typed(measures.SECONDS, getattr(rule, name)) if getattr(rule, name) else ""
        return given

    def clean(self):
        given = super().clean()
        condition = CONDITIONS.get(given.get("condition", ""))
        for name in ("threshold", "clear"):
            given[name] = self._measured(condition.measure, name) if condition and condition.measure else None
        given["comparison"] = given.get("comparison") or ">"
        return given

    def _measured(self, measure: Measure, name: str) -> float | None:
        text = self.cleaned_data.get(name, "").strip()
        value = measure.parse(text) if text else None
        if text and value is None:
            self.add_error(name, gettext("Give a number, as in {value}.").format(value=measure.example or "4"))
        return value


class SilenceForm(Form):
    rule = forms.ModelChoiceField(Rule.objects.all(), label=_("Rule"), required=False, empty_label=_("every rule"))
    query = forms.CharField(
        max_length=500,
        required=False,
        label=_("Devices"),
        help_text=_("A search. Empty: every device."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    hours = forms.TypedChoiceField(choices=list(SILENCES.items()), coerce=int, initial="4", label=_("For"))
    reason = forms.CharField(label=_("Reason"), max_length=200, help_text=_("For the others who look at this."))

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fields["query"].widget.attrs["data-complete"] = reverse("devices.complete")
        self.fields["rule"].label_from_instance = lambda rule: said_name(rule.name)

    @property
    def lasts(self) -> timedelta:
        return timedelta(hours=self.cleaned_data["hours"])


class ChannelForm(Form):
    name = forms.CharField(label=_("Name"), max_length=64)
    kind = forms.ChoiceField(label=_("Kind"), choices=[(kind, said_later(label)) for kind, label in Channel.KINDS])
    target = forms.CharField(
        max_length=1000,
        label=_("Address"),
        help_text=_(
            "E-mail addresses with commas between them; or the webhook's URL, which may also lead into the "
            "server's own network."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    severity = forms.ChoiceField(
        choices=SEVERITIES,
        initial=Severity.WARNING,
        label=_("From"),
        help_text=_("Nothing below this is told."),
    )
    recoveries = forms.BooleanField(required=False, initial=True, label=_("Also tell when it is over"))
    enabled = forms.BooleanField(required=False, initial=True, label=_("On"))

    def __init__(self, *args, channel: Channel | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if channel is not None:
            del self.fields["kind"]
