"""Signing in, one's own tokens and password, and people."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm

from fleet.accounts.roles import Role
from fleet.dashboard.forms.widgets import Form, dress

LIFETIMES = {"": "never", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}


class SignIn(AuthenticationForm):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        dress(self)


class PasswordForm(PasswordChangeForm):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        dress(self)
        self.fields["old_password"].label = "Password you have now"
        self.fields["old_password"].widget.attrs.pop("autofocus", None)
        self.fields["new_password1"].label = "New password"
        self.fields["new_password1"].help_text = "At least 12 characters, and not a common one."
        self.fields["new_password2"].label = "New password, again"
        self.fields["new_password2"].help_text = ""


class ApiTokenForm(Form):
    name = forms.CharField(max_length=64, help_text="What it is for, so that you know later whether to revoke it.")
    expires = forms.TypedChoiceField(
        choices=list(LIFETIMES.items()), coerce=int, empty_value=None, required=False, label="Ends"
    )


class PersonForm(Form):
    username = forms.RegexField(
        r"^[\w.@+-]+$",
        max_length=150,
        label="Name",
        error_messages={"invalid": "A name has letters, digits and @ . + - _ only."},
    )
    role = forms.TypedChoiceField(
        choices=[(role.label, role.label) for role in Role], coerce=lambda text: Role[text.upper()]
    )


class RoleForm(Form):
    role = forms.TypedChoiceField(
        choices=[(role.label, role.label) for role in Role], coerce=lambda text: Role[text.upper()]
    )
