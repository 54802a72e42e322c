"""An export as a response that is written while it is read: memory stays the same, however many rows there are."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from fleet.dashboard.export.formats import FORMATS, offered
from fleet.dashboard.export.table import Table
from fleet.errors import Refused


def answer(request: HttpRequest, make: Callable[[Mapping[str, str]], Table[Any]], form: str) -> HttpResponseBase:
    """A file to keep.

    404 for a format that there is not, 501 for one whose library is not installed here, 422 for a search that cannot be
    read.
    """
    if form not in FORMATS:
        words = f"There is no export as {form[:20]}; there is {' and '.join(offered())}."
        return HttpResponse(words, status=404, content_type="text/plain")
    if form not in offered():
        return HttpResponse("Parquet needs pyarrow: pip install pyarrow.", status=501, content_type="text/plain")
    try:
        table = make(request.GET)
    except Refused as problem:
        return HttpResponse(str(problem), status=422, content_type="text/plain")
    kind, write = FORMATS[form]
    blocks = write(table)
    headers = {
        "Content-Disposition": f'attachment; filename="{table.name}-{datetime.now(UTC):%Y-%m-%d}.{form}"',
        "Cache-Control": "no-store",
    }
    body = _stepwise(blocks) if isinstance(request, ASGIRequest) else blocks
    return StreamingHttpResponse(body, content_type=kind, headers=headers)


async def _stepwise(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each block is made in the request's own thread, which has its connection to the database."""
    step = sync_to_async(next)
    try:
        while (data := await step(blocks, None)) is not None:
            yield data
    finally:
        await sync_to_async(blocks.close)()  # type: ignore[attr-defined]  # a generator
