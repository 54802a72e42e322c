"""A device introduces itself. The same request twice has the same answer, so a lost reply costs nothing."""

from datetime import datetime

import msgspec
from django.db.models import F

from agent.wire import tags, topics
from agent.wire.hardware import classify
from agent.wire.messages import EnrollReply, EnrollRequest
from agent.wire.states import Admission
from fleet import text
from fleet.audit.services import record
from fleet.devices import credentials, tagging
from fleet.devices.models import Device, EnrollmentToken
from fleet.devices.services import DEVICE_NAME
from fleet.gateway import outbox
from fleet.trust import services as trust


def handle(nonce: str, request: EnrollRequest, now: datetime) -> None:
    """Answer one request, in the caller's transaction."""
    outbox.put([outbox.message(topics.enroll_reply(nonce), _answer(nonce, request, now))])


def _answer(nonce: str, request: EnrollRequest, now: datetime) -> EnrollReply:
    device = Device.objects.filter(nonce=nonce).first()
    if device is not None:
        if not credentials.matches(request.secret, device.salt, device.digest):
            return _refused(f"the number {nonce} belongs to another device; clear this device's data folder")
        return _standing(device)
    token, problem = _token(request.token, now)
    if token is None:
        record("device.refused", f"{_shown(request.name)} could not enroll: {problem}", level="warn")
        return _refused(problem)
    try:
        name = text.line(request.name, DEVICE_NAME, 128, "a device needs a name")
        tagged = tags.collect((*request.tags, *(tags.written(*each) for each in token.tags.items())))
    except ValueError as problem:
        record("device.refused", f"A device could not enroll: {problem}", level="warn")
        return _refused(str(problem))
    return _standing(_admit(nonce, name, tagged, request, token))


def _token(text: str, now: datetime) -> tuple[EnrollmentToken | None, str]:
    token_id, _, secret = text.partition(".")
    token = EnrollmentToken.objects.select_for_update().filter(pk=token_id).first()
    if token is None or not credentials.matches(secret, token.salt, token.digest):
        return None, "the enrollment token is not known here"
    problem = token.refusal(now)
    return (None, problem) if problem else (token, "")


def _shown(name: str) -> str:
    """A stranger's name, for the log: what cannot be stored is left out."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _admit(nonce: str, name: str, tagged: dict[str, str], request: EnrollRequest, token: EnrollmentToken) -> Device:
    salt = credentials.new_salt()
    device = Device.objects.create(
        nonce=nonce,
        name=name,
        salt=salt,
        digest=credentials.digest(request.secret, salt),
        token=token,
        simulated=request.simulated,
        admission=Admission.ACCEPTED if token.auto_accept else Admission.PENDING,
        hardware=msgspec.to_builtins(request.hardware),
        device_class=classify(request.hardware),
        agent_version=request.agent_version,
    )
    EnrollmentToken.objects.filter(pk=token.pk).update(uses=F("uses") + 1)
    tagging.put(device, tagged)
    if token.group_id:
        device.groups.add(token.group_id)
    if token.auto_accept:
        outbox.write_desired([device.pk])
    words = f"{device.name} asks to be let in, {device.get_device_class_display()}"
    if token.auto_accept:
        words = f"{device.name} enrolled, {device.get_device_class_display()}"
    record(f"device.{device.admission}", words, device=device)
    return device


def _standing(device: Device) -> EnrollReply:
    if device.retired_at:
        return _refused("this device was retired")
    if device.admission == Admission.ACCEPTED:
        return EnrollReply(status="accepted", device_id=device.pk, root=trust.for_enrollment())
    if device.admission == Admission.REJECTED:
        return _refused("an operator rejected this device")
    return EnrollReply(status="pending", device_id=device.pk, reason="an operator has to accept this device")


def _refused(reason: str) -> EnrollReply:
    return EnrollReply(status="rejected", reason=reason)
