"""What people do with devices, enrollment tokens and groups. Each call is one transaction with its event."""

from collections.abc import Iterable, Iterator

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from agent.wire import topics
from agent.wire.messages import Config, EnrollReply
from agent.wire.states import Admission
from fleet import text, units
from fleet.audit.models import Event
from fleet.audit.services import announce, record, record_many
from fleet.devices import credentials
from fleet.devices.models import Device, EnrollmentToken, Group, new_token_id
from fleet.errors import Refused
from fleet.gateway import outbox

#: What a refused name is called in the sentence about it.
DEVICE_NAME = "A device's name"

# --- Enrollment tokens ----------------------------------------------------------------------------------------------


@transaction.atomic
def create_token(name, by, max_uses=1, auto_accept=False, expires_at=None, group=None) -> tuple[EnrollmentToken, str]:
    """A new enrollment token and its text (`id.secret`), which nobody can read again."""
    unnamed = "Give the token a name, so that you know later which devices came with it."
    name = text.line(name, "A token's name", 128, unnamed)
    if not 1 <= max_uses <= 1_000_000:
        raise Refused(f"A token can serve 1 to 1,000,000 devices, not {max_uses}.")
    if expires_at and expires_at <= timezone.now():
        raise Refused("The token would already be expired.")
    token_id, salt = new_token_id(), credentials.new_salt()
    secret = credentials.token_secret(settings.SECRET_KEY, token_id)
    token = EnrollmentToken.objects.create(
        id=token_id,
        name=name,
        salt=salt,
        digest=credentials.digest(secret, salt),
        created_by=by,
        max_uses=max_uses,
        auto_accept=auto_accept,
        expires_at=expires_at,
        group=group,
    )
    record("enrollment_token.created", f"Enrollment token “{token.name}” for up to {max_uses} devices", actor=by)
    return token, f"{token.id}.{secret}"


@transaction.atomic
def revoke_token(token: EnrollmentToken, by) -> None:
    now = timezone.now()
    if not EnrollmentToken.objects.filter(pk=token.pk, revoked_at=None).update(
        revoked_at=now, credential_changed_at=now
    ):
        raise Refused("This token was already revoked.")
    record("enrollment_token.revoked", f"Enrollment token “{token.name}” was revoked", level="warn", actor=by)


# --- Admission ------------------------------------------------------------------------------------------------------


def accept(devices: Iterable[Device], by) -> int:
    """Let pending (or once rejected) devices in. Returns how many changed."""
    return _admit(devices, Admission.ACCEPTED, by)


def reject(devices: Iterable[Device], by) -> int:
    return _admit(devices, Admission.REJECTED, by)


@transaction.atomic
def _admit(devices: Iterable[Device], admission: Admission, by) -> int:
    from fleet.trust.services import for_enrollment  # trust knows the catalog and the gateway, which know devices

    ids = [device.pk for device in devices]
    now = timezone.now()
    changing = list(Device.objects.select_for_update().filter(pk__in=ids, retired_at=None).exclude(admission=admission))
    Device.objects.filter(pk__in=[device.pk for device in changing]).update(
        admission=admission, credential_changed_at=now
    )
    accepted = admission is Admission.ACCEPTED
    root = for_enrollment() if accepted else ""
    outbox.put(
        outbox.message(
            topics.enroll_reply(device.nonce),
            EnrollReply(status="accepted", device_id=device.pk, root=root)
            if accepted
            else EnrollReply(status="rejected", reason="an operator rejected this device"),
        )
        for device in changing
    )
    record_many(
        Event(
            kind=f"device.{admission}",
            level="ok" if accepted else "warn",
            text=f"{device.name} was {admission}",
            actor=by,
            device=device,
        )
        for device in changing
    )
    announce("fleet", *(f"device:{device.pk}" for device in changing[:200]))
    return len(changing)


@transaction.atomic
def retire(device: Device, by) -> None:
    """Take a device out of service: its login ends at once, its open deployment and commands are canceled."""
    from fleet.rollouts.services import cancel_for_device  # rollouts know devices; only this call looks back

    now = timezone.now()
    if not Device.objects.filter(pk=device.pk, retired_at=None).update(
        retired_at=now, credential_changed_at=now, desired_manifest="", desired_deployment=""
    ):
        raise Refused(f"{device.name} was already retired.")
    cancel_for_device(device, f"{device.name} was retired")
    outbox.put([outbox.message(topics.down(device.pk, "desired"), b"", retain=True)])
    record(
        "device.retired", f"{device.name} was retired; its login no longer works", level="warn", actor=by, device=device
    )


@transaction.atomic
def rename(device: Device, name: str, by) -> None:
    name = text.line(name, DEVICE_NAME, 128, "A device's name has at least one character.")
    Device.objects.filter(pk=device.pk).update(name=name)
    record("device.renamed", f"{device.name} is now called {name}", actor=by, device=device)
    device.name = name


@transaction.atomic
def set_config(device: Device, changes: dict, by) -> None:
    """Change desired settings (keys of agent.wire.messages.Config) and send them down."""
    unknown = set(changes) - set(Config.__struct_fields__)
    if unknown:
        raise Refused(f"There is no setting {', '.join(sorted(unknown))}.")
    locked = Device.objects.select_for_update().get(pk=device.pk)
    wanted = {**locked.config, **changes}
    try:
        checked = msgspec.convert(wanted, Config, strict=False)
    except msgspec.ValidationError as problem:
        raise Refused(f"The setting is out of range: {problem}.") from problem
    before = msgspec.convert(locked.config, Config, strict=False)
    if checked == before:
        return
    stored = msgspec.to_builtins(checked)
    Device.objects.filter(pk=device.pk).update(config=stored, config_version=locked.config_version + 1)
    outbox.write_desired([device.pk])
    words = ", ".join(_changes(before, checked))
    record("device.config", f"Settings of {device.name}: {words}", actor=by, device=device)


def _changes(before: Config, after: Config) -> Iterator[str]:
    """What differs, in the words of the device's page."""
    if after.mode != before.mode:
        yield f"mode {after.mode}"
    if after.device_class != before.device_class:
        yield f"class {after.device_class.replace('_', ' ') or 'as detected'}"
    if after.telemetry_interval != before.telemetry_interval:
        yield f"telemetry every {units.duration(after.telemetry_interval)}"
    if after.watch_seconds != before.watch_seconds:
        yield f"watched for {units.duration(after.watch_seconds)} after an update"
    if after.transfer_rate != before.transfer_rate:
        yield (
            f"downloads at most {units.file_words(after.transfer_rate)} a second"
            if after.transfer_rate
            else ("downloads as fast as they go")
        )


# --- Groups ---------------------------------------------------------------------------------------------------------


def _group_fields(name: str, description: str) -> dict[str, str]:
    return {
        "name": text.slug(name, "A group's name"),
        "description": text.line(description, "A group's description", 256),
    }


@transaction.atomic
def create_group(name: str, description: str, by) -> Group:
    given = _group_fields(name, description)
    try:
        with transaction.atomic():
            group = Group.objects.create(**given)
    except IntegrityError as problem:
        raise Refused(f"There is already a group called {given['name']}.") from problem
    record("group.created", f"Group {group.name} was made", actor=by)
    announce("groups")
    return group


@transaction.atomic
def update_group(group: Group, name: str, description: str, by) -> None:
    given = _group_fields(name, description)
    try:
        with transaction.atomic():
            Group.objects.filter(pk=group.pk).update(**given)
    except IntegrityError as problem:
        raise Refused(f"There is already a group called {given['name']}.") from problem
    group.refresh_from_db()
    record("group.updated", f"Group {group.name} was changed", actor=by)
    announce("groups")


@transaction.atomic
def delete_group(group: Group, by) -> None:
    name = group.name
    group.delete()
    record("group.deleted", f"Group {name} was deleted; its devices stay", level="warn", actor=by)
    announce("groups")


@transaction.atomic
def add_to_group(group: Group, devices: Iterable[Device], by) -> int:
    before = group.devices.count()
    group.devices.add(*devices)
    added = group.devices.count() - before
    record("group.members", f"{added} devices joined {group.name}", actor=by)
    announce("groups")
    return added


@transaction.atomic
def remove_from_group(group: Group, devices: Iterable[Device], by) -> int:
    before = group.devices.count()
    group.devices.remove(*devices)
    removed = before - group.devices.count()
    record("group.members", f"{removed} devices left {group.name}", actor=by)
    announce("groups")
    return removed
