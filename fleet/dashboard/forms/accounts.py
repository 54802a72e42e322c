"""Signing in, one's own tokens and password, and people."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from fleet.accounts.roles import Role
from fleet.dashboard.forms.widgets import Form, dress
from fleet.sentences import said_later

LIFETIMES = {
    "": pgettext_lazy("expiry", "never"),
    "30": _("in 30 days"),
    "90": _("in 90 days"),
    "365": _("in a year"),
}


class SignIn(AuthenticationForm):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        dress(self)


class PasswordForm(PasswordChangeForm):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        dress(self)
        self.fields["old_password"].label = gettext("Password you have now")
        self.fields["old_password"].widget.attrs.pop("autofocus", None)
        self.fields["new_password1"].label = gettext("New password")
        self.fields["new_password1"].help_text = gettext("At least 12 characters, and not a common one.")
        self.fields["new_password2"].label = gettext("New password, again")
        self.fields["new_password2"].help_text = ""


class ApiTokenForm(Form):
    name = forms.CharField(
        label=_("Name"), max_length=64, help_text=_("What it is for, so that you know later whether to revoke it.")
    )
    expires = forms.TypedChoiceField(
        choices=list(LIFETIMES.items()), coerce=int, empty_value=None, required=False, label=_("Ends")
    )


class PersonForm(Form):
    username = forms.RegexField(
        r"^[\w.@+-]+$",
        max_length=150,
        label=_("Name"),
        error_messages={"invalid": _("A name has letters, digits and @ . + - _ only.")},
    )
    role = forms.TypedChoiceField(
        label=_("Role"),
        choices=[(role.label, said_later(role.label)) for role in Role],
        coerce=lambda text: Role[text.upper()],
    )


class RoleForm(Form):
    role = forms.TypedChoiceField(
        label=_("Role"),
        choices=[(role.label, said_later(role.label)) for role in Role],
        coerce=lambda text: Role[text.upper()],
    )
