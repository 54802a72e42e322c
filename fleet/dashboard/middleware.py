"""What every answer goes through: its language, where a form's own address leads, and what a page may load."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.http.response import HttpResponseRedirect
from django.middleware.locale import LocaleMiddleware
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils import translation

#: SHA-256 of nothing: Plotly makes one empty <style> element and fills it through the CSSOM, which no policy forbids.
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        f"style-src 'self' {EMPTY_STYLE}",
        "img-src 'self' data: blob:",  # Plotly draws a chart into an image to let people keep it
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


#: Addresses that programs read, and files that are data: English, whatever a browser or a cookie asks for.
ENGLISH = ("/api/", "/export/", "/metrics")


class Language(LocaleMiddleware):
    """Pages are in the language that was chosen, else in the one that the browser asks for."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path_info.startswith(ENGLISH):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = translation.get_language()
        else:
            super().process_request(request)


class _Answered:
    """A middleware that looks at answers only, in both kinds of server."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest):
        if iscoroutinefunction(self):
            return self._later(request)
        return self.answer(request, self.get_response(request))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        return self.answer(request, await self.get_response(request))

    def answer(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        raise NotImplementedError


class ContentSecurityPolicy(_Answered):
    """Nothing runs, loads or posts that this server does not serve itself, unless a response brings its own header."""

    def answer(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


class FormAddresses(_Answered):
    """Who opens the address of a form, by a reload or a link, is sent to the page that the form stands on."""

    def answer(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.status_code != 405 or request.method not in ("GET", "HEAD") or request.path.startswith("/api/"):
            return response
        return HttpResponseRedirect(_page_of(request), status=303)


def _page_of(request: HttpRequest) -> str:
    """The nearest address above that is one (`/devices/d-1` of `/devices/d-1/rename`), else the section's page.

    It may belong to a form itself, and is then asked the same.
    """
    above = request.path.rstrip("/")
    while above := above.rpartition("/")[0]:
        try:
            resolve(above)
        except Resolver404:
            continue
        return above
    match = request.resolver_match
    section = (match.url_name or "").partition(".")[0] if match else ""
    try:
        page = reverse(section)
    except NoReverseMatch:
        page = request.path
    return page if page != request.path else reverse("overview")
