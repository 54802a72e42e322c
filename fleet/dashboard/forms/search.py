"""Keeping a view."""

from django import forms
from django.utils.translation import gettext_lazy as _

from fleet.dashboard.forms.widgets import Form


class ViewForm(Form):
    name = forms.CharField(
        label=_("Name"), max_length=64, help_text=_("A name that you have used already is given to this view.")
    )
    shared = forms.BooleanField(
        required=False,
        label=_("Share it with everybody"),
        help_text=_("Others find it beside their own, with your name."),
    )
    address = forms.CharField(max_length=2000, widget=forms.HiddenInput({"data-here": ""}))

    def __init__(self, *given, **more) -> None:
        super().__init__(*given, auto_id="view_%s", **more)  # every page has one beside its own forms
