"""A small client of the public API, as anybody could write one."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx


class ApiError(RuntimeError):
    """The server said no; the text is what it said, the status its number."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


class Client:
    """Calls `address`/api with a bearer token. Raises ApiError with the server's sentence."""

    def __init__(self, address: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{address}/api", headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: dict | None = None, **options: Any) -> Any:
        answer = self._http.request(method, path, json=body, **options)
        if answer.status_code >= 400:
            try:
                detail = answer.json()["detail"]
            except (ValueError, KeyError, TypeError):
                detail = f"status {answer.status_code}"
            said = detail if isinstance(detail, str) else json.dumps(detail)
            raise ApiError(f"{method} {path}: {said}", answer.status_code)
        return answer.json() if answer.content else None

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, params=params)

    def post(self, path: str, body: dict | None = None) -> Any:
        return self.call("POST", path, body)

    def every(self, path: str, **params: Any) -> Iterator[dict]:
        """All rows of a paginated list."""
        offset = 0
        while True:
            page = self.get(path, limit=100, offset=offset, **params)
            yield from page["items"]
            offset += len(page["items"])
            if not page["items"] or offset >= page["count"]:
                return

    def upload(
        self,
        model: str,
        file: Path,
        card: Path | None = None,
        evaluation: Path | None = None,
        evaluator: str = "",
        notes: str = "",
    ) -> dict:
        given = {"file": file, "card": card, "evaluation": evaluation}
        with ExitStack() as stack:
            files = {name: (path.name, stack.enter_context(path.open("rb"))) for name, path in given.items() if path}
            fields = {"evaluator": evaluator, "notes": notes}
            return self.call("POST", f"/models/{model}/versions", files=files, data=fields, timeout=120)


def wait_for(what: str, condition: Callable[[], Any], seconds: float, every: float = 0.3) -> Any:
    """The condition's first true value. Raises TimeoutError that says what did not happen."""
    end = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
            problem = None
        except (httpx.TransportError, ApiError) as error:
            problem = error
        time.sleep(every)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s" + (f" ({problem})" if problem else ""))
