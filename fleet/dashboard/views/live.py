"""The event stream of a page."""

import re

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard import live

_TOPIC = re.compile(r"[a-z]{1,16}(:[A-Za-z0-9_-]{1,64})?\Z")


@require_GET
@requires(Role.VIEWER)
async def stream(request: HttpRequest) -> HttpResponseBase:
    """`?topics=fleet,device:d-1`: server-sent events about these topics."""
    topics = frozenset(filter(None, request.GET.get("topics", "").split(",")))
    if not topics or len(topics) > live.MAX_TOPICS or not all(map(_TOPIC.match, topics)):
        return HttpResponse(
            f"Name 1 to {live.MAX_TOPICS} topics, as in ?topics=fleet,device:d-1.",
            status=400,
            content_type="text/plain",
        )
    if live.hub.closing or len(live.hub.listeners) >= live.MAX_STREAMS:
        return HttpResponse("No more streams now; try again.", status=503, content_type="text/plain")
    # Who asks was looked up; the stream needs no database, and would keep the connection for as long as it lives.
    await sync_to_async(connections.close_all)()
    # no-transform and X-Accel-Buffering: a proxy must hand each event on at once.
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(live.stream(topics), content_type="text/event-stream", headers=headers)
