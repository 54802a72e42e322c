"""What lies in the outbox, to real receivers: a web server and a mail server."""

import hashlib
import hmac
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone

from fleet import sentences
from fleet.alerts import channels, delivery, notifying, sending, signature
from fleet.alerts.delivery import ATTEMPTS, LEASE, LONGEST, backoff, deliver
from fleet.alerts.models import Channel, Delivery
from fleet.alerts.sending import SHOWN, NotSent
from fleet.audit.models import Event
from fleet.sentences import Sentences
from tests.fleet.alerts.receivers import MailServer, Webhook, answering, dripping, endless

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def directly(monkeypatch):
    """Loopback is reached directly, whatever the machine's environment says."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hook():
    with Webhook() as hook:
        yield hook


@pytest.fixture
def channel(hook) -> Channel:
    return Channel.objects.create(name="ops", kind="webhook", target=hook.url)


def body_of(number: int = 1, kind: str = "opened") -> dict:
    rule = {"id": 1, "name": "Too hot", "severity": "critical", "condition": "temperature", "limit": "", "search": ""}
    alert = {"on": "arm-1", "said": "is at 85 °C", "flapping": False, "url": "https://fleet.example/devices/d-1"}
    return {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "kind": kind,
        "text": f"Too hot: arm-{number}",
        "rule": rule,
        "count": 3,
        "alerts": [alert],
        "url": "https://fleet.example/alerts",
    }


def put(channel: Channel, number: int = 1, **given) -> Delivery:
    notifying.queue([channel], body_of(number, **given))
    return Delivery.objects.get(channel=channel, notification=body_of(number)["id"])


def make_due() -> None:
    Delivery.objects.update(next_at=timezone.now())


# --- Webhook --------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_it_signed_and_once(hook, channel):
    one = put(channel)
    assert deliver() == 1
    assert deliver() == 0
    (request,) = hook.requests
    assert request.body == one.body
    assert request.headers["Edgefleet-Delivery"] == one.body["id"]
    assert signature.verified(channel.secret, request.raw, request.headers[signature.HEADER], time.time())
    one.refresh_from_db()
    channel.refresh_from_db()
    assert (one.state, one.attempts, channel.error) == ("sent", 1, "")


def test_alerts_are_told_in_the_language_that_is_set(hook, channel, settings, monkeypatch):
    settings.ALERT_LANGUAGE = "zh-hans"
    monkeypatch.setattr(sentences, "_sentences", lambda language: Sentences({"is at {0}": "温度为 {0}"}))
    put(channel)
    sentences._said.cache_clear()
    assert deliver() == 1
    sentences._said.cache_clear()
    (request,) = hook.requests
    assert request.body["alerts"][0] | {"url": ""} == {
        "on": "arm-1",
        "said": "温度为 85 °C",
        "flapping": False,
        "url": "",
    }
    assert request.body["kind"] == "opened"


def test_a_signature_is_of_this_body_by_this_secret_at_this_time():
    header = signature.sign("secret", b"{}", 1_000_000)
    assert signature.verified("secret", b"{}", header, 1_000_100)
    assert not signature.verified("secret", b"{} ", header, 1_000_100)
    assert not signature.verified("other", b"{}", header, 1_000_100)
    assert not signature.verified("secret", b"{}", header, 1_000_301)
    assert not signature.verified("secret", b"{}", header, 999_699)
    assert not signature.verified("secret", b"{}", header.replace("t=1000000", "t=1000001"), 1_000_100)
    for wrong in ("", "t=,v1=", "v1=aa", "t=²,v1=aa", "t=1"):
        assert not signature.verified("secret", b"{}", wrong, 1_000_100)


def test_the_check_that_the_docs_give_takes_what_is_sent(hook, channel):
    put(channel)
    deliver()
    (request,) = hook.requests
    text = (django_settings.BASE_DIR / "docs/operators.md").read_text()
    (code,) = (part for part in text.split("```") if "def genuine" in part)
    names = {"hashlib": hashlib, "hmac": hmac, "time": time}
    exec(code, names)  # noqa: S102  # our own text
    header = request.headers[signature.HEADER]
    assert names["genuine"](channel.secret, request.raw, header)
    assert not names["genuine"]("another", request.raw, header)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (answering(500, b"<h1>out  of\norder</h1>"), "it answered 500: <h1>out of order</h1>"),
        (answering(302, Location="http://127.0.0.1:1/"), "it answered 302: redirects are not followed"),
        (answering(404), "it answered 404"),
        (endless, "it answered 500: no no no"),
    ],
)
def test_what_is_refused_is_tried_again_and_the_channel_says_why(hook, channel, answer, says):
    hook.answers = [answer, answering(200)]
    one = put(channel)
    assert deliver() == 0
    one.refresh_from_db()
    channel.refresh_from_db()
    assert one.state == "queued"
    assert one.next_at > timezone.now() + timedelta(seconds=3)
    assert channel.error.startswith(says)
    assert len(channel.error) <= SHOWN + 40
    assert deliver() == 0, "not before its time"
    make_due()
    assert deliver() == 1
    assert [request.body["id"] for request in hook.requests] == [one.body["id"]] * 2
    channel.refresh_from_db()
    assert channel.error == ""


def test_a_receiver_that_drips_holds_nobody_up(hook, channel, monkeypatch):
    monkeypatch.setattr(sending, "TOTAL", 1.0)
    hook.answers = [dripping]
    put(channel)
    began = time.monotonic()
    deliver()
    assert time.monotonic() - began < 5
    channel.refresh_from_db()
    assert channel.error == "it did not answer within 1 s"


def test_nobody_listens(channel):
    Channel.objects.update(target="http://127.0.0.1:9/")
    put(channel)
    deliver()
    channel.refresh_from_db()
    assert "connection" in channel.error.lower()


def test_what_is_behind_a_failure_waits_too_and_goes_in_order(hook, channel):
    hook.answers = [answering(503), answering(200)]
    for number in (1, 2, 3):
        put(channel, number)
    deliver()
    assert len(hook.requests) == 1
    assert not Delivery.objects.filter(next_at__lte=timezone.now()).exists()
    make_due()
    assert deliver() == 3
    assert [request.body["text"] for request in hook.requests[1:]] == [f"Too hot: arm-{n}" for n in (1, 2, 3)]


def test_it_is_given_up_in_the_end_and_the_log_says_so(hook, channel):
    hook.answers = [answering(500)]
    one = put(channel)
    Delivery.objects.update(attempts=ATTEMPTS - 1)
    deliver()
    one.refresh_from_db()
    assert (one.state, one.attempts) == ("failed", ATTEMPTS)
    event = Event.objects.get(kind="channel.failed")
    assert (event.text, event.detail) == ("The channel ops was not told: Too hot: arm-1", "it answered 500")
    make_due()
    assert deliver() == 0


def test_a_channel_that_is_off_sends_nothing(hook, channel):
    put(channel)
    Channel.objects.update(enabled=False)
    assert deliver() == 0
    assert hook.requests == []


def test_waits_grow_to_an_hour_with_jitter():
    waits = [backoff(attempt, 1.0).total_seconds() for attempt in range(1, 12)]
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == LONGEST.total_seconds() == backoff(10_000, 1.0).total_seconds()
    assert backoff(3, 0.0).total_seconds() == 20


def test_a_channel_is_served_by_one_worker_at_a_time(hook, channel):
    put(channel)
    Channel.objects.update(busy_until=timezone.now() + timedelta(seconds=30))
    assert deliver() == 0
    Channel.objects.update(busy_until=timezone.now() - timedelta(seconds=1))
    assert deliver() == 1


def test_a_test_is_tried_once(hook, channel, admin):
    hook.answers = [answering(500, b"no")]
    channels.test(channel, admin)
    deliver()
    one = Delivery.objects.get()
    assert (one.state, one.error) == ("failed", "it answered 500: no")
    assert not Event.objects.filter(kind="channel.failed").exists()


@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_nothing_and_repeats_under_the_same_id(hook):
    """A process of its own is killed while the receiver has the request; another one takes over after the lease."""
    hook.answers = [dripping, answering(200)]
    channel = Channel.objects.create(name="ops", kind="webhook", target=hook.url)
    one = put(channel)
    test_database = str(connection.settings_dict["NAME"])
    url = f"sqlite:///{test_database}" if connection.vendor == "sqlite" else _postgres_url(test_database)
    code = "import django; django.setup()\nfrom fleet.alerts.delivery import deliver\ndeliver()"
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=django_settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "fleet.settings"},
    )
    end = time.monotonic() + 30
    while not hook.requests and time.monotonic() < end:
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    one.refresh_from_db()
    assert (one.state, one.attempts) == ("queued", 1)
    assert deliver() == 0, "it may still be on its way"
    past = timezone.now() - LEASE
    Channel.objects.update(busy_until=past)
    Delivery.objects.update(next_at=past)
    assert deliver() == 1
    assert [request.headers["Edgefleet-Delivery"] for request in hook.requests] == [one.body["id"]] * 2


def _postgres_url(name: str) -> str:
    at = connection.settings_dict
    return f"postgres://{at['USER']}@{at['HOST']}:{at['PORT']}/{name}"


# --- E-mail ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mail(settings):
    with MailServer() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server


def test_an_e_mail_says_what_opened_to_everybody(mail):
    channel = Channel.objects.create(name="ops", kind="email", target="a@example.org, b@example.org")
    one = put(channel)
    assert deliver() == 1
    (letter,) = mail.letters
    assert mail.recipients == [["a@example.org", "b@example.org"]]
    assert letter["Subject"] == "[critical] Too hot: arm-1"
    assert letter["Message-ID"] == f"<{one.body['id']}@edgefleet>"
    said = letter.get_content()
    assert "- arm-1 is at 85 °C. https://fleet.example/devices/d-1" in said
    assert "- and 2 more" in said


def test_an_e_mail_of_an_end(mail):
    put(Channel.objects.create(name="ops", kind="email", target="a@example.org"), kind="recovered")
    deliver()
    assert "- arm-1 is well again." in mail.letters[0].get_content()


def test_a_mail_server_that_refuses_is_tried_again(mail):
    mail.refuses = frozenset({"a@example.org"})
    channel = Channel.objects.create(name="ops", kind="email", target="a@example.org")
    one = put(channel)
    deliver()
    one.refresh_from_db()
    assert one.state == "queued"
    assert "nobody of that name" in one.error
    mail.refuses = frozenset()
    make_due()
    assert deliver() == 1


def test_without_a_mail_server_the_channel_says_what_to_set(settings):
    settings.EMAIL_HOST = ""
    channel = Channel.objects.create(name="ops", kind="email", target="a@example.org")
    with pytest.raises(NotSent, match="EDGEFLEET_EMAIL_HOST"):
        sending.send(channel, put(channel))
    assert delivery.deliver() == 0
