"""The ASGI application: `uvicorn fleet.asgi:application`."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What a form adds to the files in it.
FORM_BYTES = 4 * 1024 * 1024
#: Most connections of one web process to PostgreSQL.
CONNECTIONS = 20


class BodyLimit:
    """Refuses a body that is too long before Django writes it to disk: said in its header, or found while it comes."""

    def __init__(self, application: Application, limit: int) -> None:
        self._application, self._limit = application, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._application(scope, receive, send)
        if "\0" in scope["path"]:  # PostgreSQL takes it for the end of a text, and no page is called that
            return await self._refuse(send, 404, "There is no such page.")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._limit:
            return await self._refuse(send, 413, f"The request is longer than the limit of {self._limit:,} bytes.")
        taken = 0

        async def bounded() -> Scope:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # Whoever sends more than was declared has no answer to expect: to Django, the client is gone.
            return {"type": "http.disconnect"} if taken > self._limit else message

        return await self._application(scope, bounded, send)

    async def _refuse(self, send: Send, status: int, words: str) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": words.encode()})


def _limited() -> BodyLimit:
    django = get_asgi_application()
    from django.conf import settings  # set up by the line above
    from django.db import connections

    # Each request has a thread of its own here, and a connection that it kept would serve nobody after it. PostgreSQL
    # allows 100 in all: requests beyond the pool wait for one.
    for database in connections.settings.values():
        database["CONN_MAX_AGE"] = 0
        if database["ENGINE"].endswith("postgresql"):
            database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": CONNECTIONS, "timeout": 10}
    from fleet.gateway.links import PartServer
    from fleet.inference.endpoint import InferenceServer

    return BodyLimit(InferenceServer(PartServer(django)), settings.MAX_UPLOAD_BYTES + FORM_BYTES)


application = _limited()
