"""Lists and charts as files."""

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard.export.answers import answer
from fleet.dashboard.export.tables import maker


@require_GET
@requires(Role.VIEWER)
def table(request: HttpRequest, what: str, form: str, of: str = "") -> HttpResponseBase:
    """`/export/devices.csv?q=…`, `/export/group/berlin.csv`: with the parameters of the page that shows it."""
    return answer(request, maker(what, of), form)
