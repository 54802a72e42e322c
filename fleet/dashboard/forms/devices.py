"""What an operator may change about a device, a group or an enrollment token."""

from datetime import timedelta

from django import forms
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from fleet.dashboard.forms.widgets import BudgetField, Form, LimitField, RateField
from fleet.dashboard.words import CLASS_LABELS
from fleet.devices.models import Group
from fleet.devices.services import BUDGETS

MODES = (
    ("full", _("full: everything on the device")),
    ("slim", _("slim: smallest footprint")),
    ("hybrid", _("hybrid: asks this server too")),
)
TOKEN_LIFETIMES = {
    "1": _("in an hour"),
    "24": _("in a day"),
    "168": _("in a week"),
    "720": _("in 30 days"),
    "": pgettext_lazy("expiry", "never"),
}


class RenameForm(Form):
    name = forms.CharField(label=_("Name"), max_length=128)


class ConfigForm(Form):
    """The fields are those of agent.wire.messages.Config; the service checks the ranges again."""

    telemetry_interval = forms.FloatField(
        min_value=1,
        max_value=3600,
        label=_("Telemetry every, s"),
        help_text=_("1 to 3,600 seconds."),
    )
    watch_seconds = forms.FloatField(
        min_value=0,
        max_value=86_400,
        label=_("Watch after an update, s"),
        help_text=_("An update that misbehaves within this time is rolled back. 0 to 86,400 seconds."),
    )
    mode = forms.ChoiceField(label=_("Mode"), choices=MODES)
    observations_leave = forms.BooleanField(
        required=False,
        label=_("Observations may leave this device"),
        help_text=_(
            "Needed to set it to hybrid. It then sends this server what its camera sees, the instruction and the "
            "robot's state, for requests that are marked heavy and those that it cannot decide in time. In full and "
            "slim mode nothing of that leaves the device."
        ),
    )
    device_class = forms.ChoiceField(
        choices=[("", _("as detected")), *CLASS_LABELS.items()],
        required=False,
        label=_("Class"),
        help_text=_("Decides which variant the device gets."),
    )
    transfer_rate = RateField(
        label=_("Downloads at most"),
        help_text=_("Of a model's parts, for a link that is shared or paid for."),
    )
    preprocess_budget = BudgetField(
        _("Preprocessing takes, ms"), 60_000, _("At most. Empty: the policy card's, or 50.")
    )
    compute_budget = BudgetField(_("Computing takes, ms"), 60_000, _("At most. Empty: the policy card's, or 30."))
    total_budget = BudgetField(_("A decision takes, ms"), 60_000, _("At most. Empty: the model's deadline."))
    bandwidth_budget = BudgetField(_("Network takes, Mbit/s"), 1e6, _("At most, both ways together. Empty: 10."))
    memory_budget = LimitField(
        label=_("Memory, MiB"),
        help_text=_("Of the agent with its model."),
        most=2**24,
        scale=2**20,
    )
    cpu_budget = LimitField(label=_("Processor time, %"), help_text=_("Of all cores, for the agent."), most=100)
    power_budget = LimitField(
        label=_("Power, W"),
        help_text=_("Of the whole device, on average: measured, or else estimated."),
        most=10_000,
    )
    temperature_budget = LimitField(
        label=_("Temperature, °C"), help_text=_("Of the device where it is hottest."), most=150
    )

    def budgets(self):
        return [self[name] for name in BUDGETS]


class TagsForm(Form):
    tags = forms.CharField(
        label=_("Tags"),
        max_length=4000,
        required=False,
        help_text=_("As in site=berlin, floor=2, spare; they are found by searches such as tag:site=berlin."),
    )


class MaintenanceForm(Form):
    """What rollouts hold to on this device."""

    time_zone = forms.CharField(
        max_length=64,
        required=False,
        label=_("Time zone"),
        help_text=_("Of its maintenance windows, as in Europe/Berlin. Empty: each rollout says which."),
    )
    pinned = forms.CharField(
        max_length=200,
        required=False,
        label=_("Stays at what it runs, because"),
        help_text=_("With a reason here rollouts leave the device out. Empty: they do not."),
    )


class GroupForm(Form):
    name = forms.CharField(
        label=_("Name"), max_length=64, help_text=_("Letters, digits and dashes; rollouts go to groups by this name.")
    )
    description = forms.CharField(label=_("Description"), max_length=256, required=False)
    query = forms.CharField(
        label=_("Query"),
        max_length=500,
        required=False,
        help_text=_(
            "A search, as on the list of devices: whoever it finds is in the group, at any time. "
            "Without one you put devices into the group yourself."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args, group: Group | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fields["query"].widget.attrs["data-complete"] = reverse("devices.complete")
        if group is not None and group.dynamic:
            self.fields["query"].required = True
            self.fields["query"].help_text = gettext("Whoever it finds is in the group, at any time.")
        elif group is not None:
            del self.fields["query"]


class TokenForm(Form):
    name = forms.CharField(
        label=_("Name"), max_length=128, help_text=_("Which devices will come with it, as in lab benches.")
    )
    max_uses = forms.IntegerField(
        min_value=1,
        max_value=1_000_000,
        initial=1,
        label=_("Devices"),
        help_text=_("The token stops after this many."),
    )
    expires = forms.TypedChoiceField(
        choices=list(TOKEN_LIFETIMES.items()),
        coerce=int,
        empty_value=None,
        required=False,
        initial="24",
        label=_("Ends"),
    )
    group = forms.ModelChoiceField(
        Group.objects.filter(query=""),
        label=_("Group"),
        required=False,
        empty_label=_("no group"),
        help_text=_("Where its devices go."),
    )
    tags = forms.CharField(
        label=_("Tags"),
        max_length=4000,
        required=False,
        help_text=_("Of each device that comes with it, as in site=berlin, floor=2."),
    )
    auto_accept = forms.BooleanField(
        required=False,
        label=_("Accept its devices at once"),
        help_text=_("Without this, somebody has to accept each device."),
    )

    def expires_at(self):
        hours = self.cleaned_data["expires"]
        return timezone.now() + timedelta(hours=hours) if hours else None
