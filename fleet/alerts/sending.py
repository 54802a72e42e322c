"""The two ways out: an e-mail through the mail server, a signed POST to a webhook. Both are over within seconds."""

import asyncio
import json
import re
import smtplib
import time
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import translation

from fleet.alerts.models import Channel, Delivery
from fleet.alerts.signature import HEADER, sign
from fleet.errors import Refused
from fleet.sentences import said

#: Seconds for a connection, and for all of a request: a receiver that drips cannot hold a worker.
CONNECT, TOTAL = 5.0, 10.0
#: Most of an answer that is read, and most of it that is shown.
ANSWER, SHOWN = 4096, 200
MOST_ADDRESSES = 20
_ADDRESS = re.compile(r"[^@\s,;:<>\"]{1,64}@[^@\s,;:<>\"]{1,190}")


class NotSent(Exception):  # noqa: N818  # it reads as what happened
    """The receiver has not taken it; the text says why."""


def send(channel: Channel, delivery: Delivery) -> None:
    """Raises NotSent."""
    if channel.kind == "email":
        _mail(channel, delivery)
    else:
        asyncio.run(_post(channel, delivery))


# --- E-mail ---------------------------------------------------------------------------------------------------------


def addresses(target: str) -> list[str]:
    """Raises Refused."""
    found = [each for each in re.split(r"[\s,;]+", target.strip()) if each]
    for each in found:
        if not _ADDRESS.fullmatch(each):
            raise Refused(f"“{each[:80]}” is no e-mail address.")
    if not 1 <= len(found) <= MOST_ADDRESSES:
        raise Refused(f"Give 1 to {MOST_ADDRESSES} e-mail addresses, with commas between them.")
    return found


def _mail(channel: Channel, delivery: Delivery) -> None:
    if not settings.EMAIL_HOST:
        raise NotSent("no mail server is set (EDGEFLEET_EMAIL_HOST)")
    body = delivery.body
    with translation.override(settings.ALERT_LANGUAGE):
        subject, words = _subject(body), text(body)
    message = EmailMessage(
        subject=subject,
        body=words,
        to=addresses(channel.target),
        headers={"Edgefleet-Delivery": body["id"], "Message-ID": f"<{body['id']}@edgefleet>"},
    )
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as problem:
        told = (f"{to}: {code} {words.decode(errors='replace')}" for to, (code, words) in problem.recipients.items())
        raise NotSent(", ".join(told)) from problem
    except (smtplib.SMTPException, OSError) as problem:
        raise NotSent(f"{settings.EMAIL_HOST}: {problem or type(problem).__name__}") from problem


def _subject(body: dict) -> str:
    severity = f"[{said(body['rule']['severity'])}] " if body["rule"] else ""
    return f"{severity}{said(body['text'])}"[:200]


def text(body: dict) -> str:
    """An e-mail's text, in the language of now."""
    lines = [said(body["text"] + "."), ""]
    for alert in spoken(body)["alerts"]:
        flapping = said(", for the third time within an hour: it flaps") if alert["flapping"] else ""
        end = said("is well again") if body["kind"] == "recovered" else alert["said"]
        lines.append(f"- {alert['on']} {end}{flapping}. {alert['url']}".rstrip())
    if body["count"] > len(body["alerts"]):
        lines.append(said(f"- and {body['count'] - len(body['alerts']):,} more"))
    if body["url"]:
        lines += ["", body["url"]]
    return "\n".join(lines) + "\n"


def spoken(body: dict) -> dict:
    """A notification whose sentences are in the language of now; its names and numbers are what they were."""
    alerts = [
        {
            **alert,
            "on": said(alert["on"]) if alert.get("device", "") is None else alert["on"],
            "said": said(alert["said"]),
        }
        for alert in body["alerts"]
    ]
    return {**body, "text": said(body["text"]), "alerts": alerts}


# --- Webhook --------------------------------------------------------------------------------------------------------


def url(target: str) -> str:
    """Raises Refused. Where it leads is the admin's business: also into this server's own network."""
    try:
        parts = urlsplit(target.strip())
        named = bool(parts.hostname)
    except ValueError:
        named = False
    try:
        port = named and parts.port != 0
    except ValueError:
        port = False
    if named and not port:
        raise Refused("The port of a webhook's address is 1 to 65535.")
    if not named or parts.scheme not in ("http", "https"):
        raise Refused("A webhook's address begins with http:// or https:// and names a host.")
    if parts.username is not None:
        raise Refused("A webhook's address has no user name in it: the signature says who sends.")
    return parts.geturl()


async def _post(channel: Channel, delivery: Delivery) -> None:
    with translation.override(settings.ALERT_LANGUAGE):
        body = json.dumps(spoken(delivery.body), separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Edgefleet",
        "Edgefleet-Delivery": str(delivery.body["id"]),
        HEADER: sign(channel.secret, body, int(time.time())),
    }
    limits = httpx.Timeout(None, connect=CONNECT)  # the whole is bounded below
    try:
        async with (
            asyncio.timeout(TOTAL),
            httpx.AsyncClient(timeout=limits, follow_redirects=False) as client,
            client.stream("POST", channel.target, content=body, headers=headers) as answer,
        ):
            beginning = b"" if answer.is_success else await _beginning(answer)
    except TimeoutError as problem:
        raise NotSent(f"it did not answer within {TOTAL:.0f} s") from problem
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        raise NotSent(str(problem) or type(problem).__name__) from problem
    if answer.is_redirect:
        raise NotSent(f"it answered {answer.status_code}: redirects are not followed")
    if not answer.is_success:
        words = " ".join(beginning.decode(errors="replace").split())[:SHOWN]
        raise NotSent(f"it answered {answer.status_code}{': ' if words else ''}{words}")


async def _beginning(answer: httpx.Response) -> bytes:
    read = b""
    async for part in answer.aiter_raw(1024):
        read += part
        if len(read) >= ANSWER:
            break
    return read
