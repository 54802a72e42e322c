"""Starting a rollout."""

from django import forms

from fleet.dashboard.forms.widgets import Form

DEADLINES = {"3600": "an hour", "86400": "a day", "604800": "a week", "2592000": "30 days"}


class RolloutForm(Form):
    """The release and the target stand in the address; only what is decided at the end is asked here."""

    deadline = forms.TypedChoiceField(
        choices=list(DEADLINES.items()),
        coerce=int,
        initial="604800",
        label="Each device has",
        help_text="A device that has not ended by then is given up as timed out; an offline one waits until then.",
    )
    back = forms.BooleanField(
        required=False,
        label="Go back to the older version",
        help_text="Signed as your order: without it devices refuse a version that is older than what they ran.",
    )
