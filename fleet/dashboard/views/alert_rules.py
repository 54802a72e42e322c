"""The rules behind alerts: listed, made with a preview, changed."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.accounts.roles import Role, requires
from fleet.alerts import services
from fleet.alerts.models import Rule
from fleet.dashboard.forms.alerts import RuleForm
from fleet.dashboard.pages import Lazy, act, go, page, saved
from fleet.dashboard.selectors import alerts as select
from fleet.errors import Refused
from fleet.search.errors import SearchError
from fleet.sentences import said_name


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    context = {"lazy": Lazy(rules=select.rules)}
    return page(request, "alerts/rules.html", context, {"rule-list": "alerts/rule_list.html"})


@require_http_methods(["GET", "POST"])
@requires(Role.OPERATOR)
def new(request: HttpRequest) -> HttpResponse:
    """`?query=` fills in which devices."""
    form = RuleForm(request.POST or None, initial={"query": request.GET.get("query", "")[:500]})
    if request.method == "POST" and _saved(form, lambda: services.create_rule(request.user, **form.cleaned_data)):
        return go(request, "alerts.rules")
    return _form(request, form, None)


@require_http_methods(["GET", "POST"])
@requires(Role.OPERATOR)
def detail(request: HttpRequest, rule_id: int) -> HttpResponse:
    rule = get_object_or_404(Rule, pk=rule_id)
    form = RuleForm(request.POST or None, initial=RuleForm.initial_of(rule))
    if request.method == "POST" and _saved(form, lambda: services.update_rule(rule, request.user, **form.cleaned_data)):
        return go(request, "alerts.rules")
    return _form(request, form, rule)


def _form(request: HttpRequest, form: RuleForm, rule: Rule | None) -> HttpResponse:
    """The form, with what the rule would find now; with its errors after it was sent."""
    given = form.data if form.is_bound else RuleForm.initial_of(rule) if rule else None
    context = {} if given is None else _previewed(RuleForm(given))
    status = 422 if form.is_bound else 200
    template = "alerts/rule_form.html" if request.htmx else "alerts/rule.html"
    return page(request, template, {**context, "form": form, "rule": rule}, status=status)


def _saved(form: RuleForm, action: Callable[[], object]) -> bool:
    """A refusal of the search stands beside it."""

    def tried() -> None:
        try:
            action()
        except SearchError as problem:
            form.add_error("query", str(problem))

    return saved(form, tried) and form.is_valid()


@require_GET
@requires(Role.VIEWER)
def preview(request: HttpRequest) -> HttpResponse:
    """The form's fields in the address: whom the rule would watch, and who meets its condition at this moment."""
    return page(request, "alerts/rule_preview.html", _previewed(RuleForm(request.GET)))


def _previewed(form: RuleForm) -> dict[str, object]:
    form.fields["name"].required = False
    form.is_valid()
    problems = {name: errors for name, errors in form.errors.items() if name != "name"}
    if problems:
        return {"preview_problem": next(iter(problems.values()))[0]}
    rule = Rule(**{**form.cleaned_data, "name": form.cleaned_data.get("name") or "new"})
    try:
        return {"preview": services.preview(rule, timezone.now())}
    except Refused as problem:
        return {"preview_problem": str(problem)}


@require_POST
@requires(Role.OPERATOR)
def enable(request: HttpRequest, rule_id: int) -> HttpResponse:
    """`on` is 1 or 0."""
    rule = get_object_or_404(Rule, pk=rule_id)
    enabled = request.POST.get("on") == "1"

    def turned() -> str:
        services.enable_rule(rule, enabled, request.user)
        words = gettext("{rule} is on.") if enabled else gettext("{rule} is off; what it had found is over.")
        return words.format(rule=said_name(rule.name))

    act(request, turned)
    return go(request, "alerts.rules")


@require_POST
@requires(Role.OPERATOR)
def delete(request: HttpRequest, rule_id: int) -> HttpResponse:
    rule = get_object_or_404(Rule, pk=rule_id)

    def gone() -> str:
        name = rule.name
        services.delete_rule(rule, request.user)
        return gettext("The rule {name} is gone; what it found stays to be read.").format(name=said_name(name))

    act(request, gone)
    return go(request, "alerts.rules")
