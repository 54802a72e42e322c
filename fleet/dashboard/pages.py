"""How views answer: whole pages or one part of them, refusals as messages, forms with errors beside the fields."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from fleet import sentences
from fleet.errors import Refused


class Lazy:
    """Values that are computed when a template first asks for them: a part of a page costs only its own queries."""

    def __init__(self, **makers: Callable[[], Any]) -> None:
        self._makers = makers

    def __getattr__(self, name: str) -> Any:
        maker = self.__dict__.get("_makers", {}).get(name)
        if maker is None:
            raise AttributeError(f"This page has nothing called {name}.")
        try:
            value = maker()
        except (AttributeError, TypeError) as problem:
            # Templates take these two for a name that does not exist, and would show nothing instead of failing.
            raise RuntimeError(f"{name} could not be computed: {problem}") from problem
        setattr(self, name, value)
        return value


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    parts: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """The whole page; or, when htmx asks for the element with one of the ids in `parts`, that part's template alone."""
    wanted = request.htmx.target if request.htmx else None
    response = render(request, (parts or {}).get(wanted or "", template), dict(context), status=status)
    # The same address gives a page or a part of it: a browser must not show one for the other when it goes back.
    patch_vary_headers(response, ("HX-Request", "HX-Target", "Cookie"))
    response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def go(request: HttpRequest, to: str, *args: Any) -> HttpResponse:
    """Send the browser on, also when a script asked."""
    answer = redirect(to, *args)
    return HttpResponseClientRedirect(answer.url) if request.htmx else answer


def back(request: HttpRequest, default: str, *args: Any) -> HttpResponse:
    """Send the browser to the page it says it came from, if that is one of ours."""
    asked = request.POST.get("next", "")
    if asked.startswith("/") and url_has_allowed_host_and_scheme(asked, allowed_hosts=None):
        return go(request, asked)
    return go(request, default, *args)


def act(request: HttpRequest, action: Callable[[], str]) -> bool:
    """Do something that can be refused, and leave the sentence about it for the next page."""
    try:
        said = action()
    except Refused as problem:
        messages.error(request, sentences.said(str(problem)))
        return False
    messages.success(request, said)
    return True


def saved(form: BaseForm, action: Callable[[], Any], field: str | None = None) -> bool:
    """Whether a form was valid and its action was not refused; a refusal becomes an error of `field` or of the form."""
    if not form.is_valid():
        return False
    try:
        action()
    except Refused as problem:
        form.add_error(field, sentences.said(str(problem)))
        return False
    return True


def form_again(request: HttpRequest, template: str, context: Mapping[str, Any], title: str) -> HttpResponse:
    """A form with its errors: in its place when a script asked, else as a page of its own. Nothing typed is lost."""
    status = 422
    if request.htmx:
        return page(request, template, context, status=status)
    return page(request, "parts/form_page.html", {**context, "form_template": template, "title": title}, status=status)
