"""Receivers of notifications: a web server and a mail server, each a thread of its own on a free port."""

import json
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict:
        return json.loads(self.raw)


#: What a receiver does with a request: writes its answer to the handler.
Answer = Callable[[BaseHTTPRequestHandler], None]


def answering(status: int, text: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    return answer


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A byte of an answer now and then, for ever."""
    while True:
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.2)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """An error with a text that does not end."""
    handler.send_response(500)
    handler.end_headers()
    while True:
        handler.wfile.write(b"no " * 10_000)


@dataclass
class Webhook:
    """answers are given one after the other, the last of them for ever."""

    answers: list[Answer] = field(default_factory=lambda: [answering(200)])
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "Webhook":
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append(Request(dict(self.headers), raw))
                answer = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
                try:
                    answer(self)
                except OSError:
                    self.close_connection = True  # whoever asked has gone

            do_GET = do_POST  # noqa: N815  # a redirect that is followed would come here

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class MailServer:
    """Takes mail as RFC 5321 has it; refuses whom it is told to."""

    refuses: frozenset[str] = frozenset()
    letters: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    def __enter__(self) -> "MailServer":
        here = self

        class Handler(socketserver.StreamRequestHandler):
            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            def handle(self) -> None:
                self.say("220 here")
                to: list[str] = []
                while line := self.rfile.readline():
                    verb, _, rest = line.decode().strip().partition(" ")
                    match verb.upper():
                        case "RCPT":
                            address = rest.partition("<")[2].partition(">")[0]
                            known = address not in here.refuses
                            to += [address] if known else []
                            self.say("250 fine" if known else "550 nobody of that name")
                        case "DATA":
                            self.say("354 go on")
                            here.letters.append(self.letter())
                            here.recipients.append(to)
                            self.say("250 taken")
                        case "QUIT":
                            self.say("221 bye")
                            return
                        case _:
                            self.say("250 fine")

            def letter(self) -> EmailMessage:
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line.removeprefix(b"."))
                return message_from_bytes(b"".join(lines), policy=policy.default)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
