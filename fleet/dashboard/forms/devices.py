"""What an operator may change about a device, a group or an enrollment token."""

from datetime import timedelta

from django import forms
from django.utils import timezone

from fleet.dashboard.forms.widgets import Form
from fleet.dashboard.words import CLASS_LABELS
from fleet.devices.models import Group

MODES = (("full", "full"), ("slim", "slim"), ("hybrid", "hybrid"))
TOKEN_LIFETIMES = {"1": "in an hour", "24": "in a day", "168": "in a week", "720": "in 30 days", "": "never"}


class RenameForm(Form):
    name = forms.CharField(max_length=128)


class ConfigForm(Form):
    """The fields are those of agent.wire.messages.Config; the service checks the ranges again."""

    telemetry_interval = forms.FloatField(
        min_value=1, max_value=3600, label="Telemetry every, s", help_text="1 to 3,600 seconds."
    )
    watch_seconds = forms.FloatField(
        min_value=0,
        max_value=86_400,
        label="Watch after an update, s",
        help_text="An update that misbehaves within this time is rolled back. 0 to 86,400 seconds.",
    )
    mode = forms.ChoiceField(choices=MODES)
    device_class = forms.ChoiceField(
        choices=[("", "as detected"), *CLASS_LABELS.items()],
        required=False,
        label="Class",
        help_text="Decides which variant the device gets.",
    )
    transfer_rate = forms.FloatField(
        min_value=0,
        max_value=1e12,
        required=False,
        label="Downloads at most, B/s",
        help_text="Bytes a second of a model's parts, for a link that is shared or paid for. 0 is no limit.",
    )

    def clean_transfer_rate(self) -> float:
        return self.cleaned_data["transfer_rate"] or 0


class GroupForm(Form):
    name = forms.CharField(max_length=64, help_text="Letters, digits and dashes; rollouts go to groups by this name.")
    description = forms.CharField(max_length=256, required=False)


class TokenForm(Form):
    name = forms.CharField(max_length=128, help_text="Which devices will come with it, as in lab benches.")
    max_uses = forms.IntegerField(
        min_value=1, max_value=1_000_000, initial=1, label="Devices", help_text="The token stops after this many."
    )
    expires = forms.TypedChoiceField(
        choices=list(TOKEN_LIFETIMES.items()), coerce=int, empty_value=None, required=False, initial="24", label="Ends"
    )
    group = forms.ModelChoiceField(
        Group.objects.all(), required=False, empty_label="no group", help_text="Where its devices go."
    )
    auto_accept = forms.BooleanField(
        required=False,
        label="Accept its devices at once",
        help_text="Without this, somebody has to accept each device.",
    )

    def expires_at(self):
        hours = self.cleaned_data["expires"]
        return timezone.now() + timedelta(hours=hours) if hours else None
