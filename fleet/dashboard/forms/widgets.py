"""Form controls in the pages' own look."""

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _


class Form(forms.Form):
    """A form whose controls carry the classes of the stylesheet. Labels end without a colon."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        dress(self)


class BudgetField(forms.FloatField):
    """What may be used of something; empty or 0 leaves it to the policy card, or the agent's default."""

    def __init__(self, label: str, most: float, help_text: str) -> None:
        super().__init__(
            label=label,
            help_text=help_text,
            min_value=0,
            max_value=most,
            required=False,
            widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
        )

    def prepare_value(self, value):
        return (f"{value:g}" if value else "") if isinstance(value, int | float) else value

    def clean(self, value) -> float:
        return super().clean(value) or 0


class RateField(forms.FloatField):
    """Bytes a second, seen and typed as MB/s; empty or 0 is no limit."""

    def __init__(self, *, label: str, help_text: str) -> None:
        super().__init__(
            label=format_lazy(_("{label}, MB/s"), label=label),
            help_text=format_lazy(_("{help_text} Empty is no limit."), help_text=help_text),
            min_value=0,
            max_value=1e6,
            required=False,
            step_size=None,
            widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
        )

    def prepare_value(self, value):
        return (f"{value / 1e6:g}" if value else "") if isinstance(value, int | float) else value

    def clean(self, value) -> float:
        return (super().clean(value) or 0) * 1e6


class LimitField(forms.FloatField):
    """A limit that may be left out: empty or 0 is none. Seen and typed in units of `scale`."""

    def __init__(self, *, label: str, help_text: str = "", most: float, scale: int = 1) -> None:
        self.scale = scale
        super().__init__(
            label=label,
            help_text=help_text,
            min_value=0,
            max_value=most,
            required=False,
            step_size=None,
            widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal", "placeholder": _("none")}),
        )

    def prepare_value(self, value):
        return (f"{value / self.scale:g}" if value else "") if isinstance(value, int | float) else value

    def clean(self, value) -> float:
        given = super().clean(value) or 0
        return round(given * self.scale) if self.scale > 1 else given


def dress(form: forms.BaseForm) -> None:
    for field in form.fields.values():
        field.widget.attrs.setdefault("class", _class_of(field.widget))


def _class_of(widget: forms.Widget) -> str:
    if isinstance(widget, forms.ClearableFileInput | forms.FileInput):
        return "file"
    if isinstance(widget, forms.Select) and not isinstance(widget, forms.CheckboxSelectMultiple):
        return "select"
    if isinstance(widget, forms.Textarea):
        return "textarea"
    if isinstance(widget, forms.CheckboxInput | forms.CheckboxSelectMultiple):
        return ""
    return "input"
