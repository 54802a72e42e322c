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
from fleet.devices import credentials, tagging
from fleet.devices.models import Device, EnrollmentToken, Group, new_token_id
from fleet.errors import Refused
from fleet.gateway import outbox
from fleet.search import groups as queries

#: What a refused name is called in the sentence about it.
DEVICE_NAME = "A device's name"

# --- Enrollment tokens ----------------------------------------------------------------------------------------------


@transaction.atomic
def create_token(
    name, by, max_uses=1, auto_accept=False, expires_at=None, group=None, tags: Iterable[str] = ()
) -> tuple[EnrollmentToken, str]:
    """A new enrollment token and its text (`id.secret`), which nobody can read again.

    Its devices join the group, and get the tags (`site=berlin`).
    """
    unnamed = "Give the token a name, so that you know later which devices came with it."
    name = text.line(name, "A token's name", 128, unnamed)
    if not 1 <= max_uses <= 1_000_000:
        raise Refused(f"A token can serve 1 to 1,000,000 devices, not {max_uses}.")
    if expires_at and expires_at <= timezone.now():
        raise Refused("The token would already be expired.")
    if group is not None:
        _filled_by_hand(group)
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
        tags=tagging.collected(tags),
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


#: The settings of a decision's budgets, in words.
DECISION_BUDGETS = (
    ("preprocess_budget", "preprocessing", "ms"),
    ("compute_budget", "computing", "ms"),
    ("total_budget", "a decision", "ms"),
    ("bandwidth_budget", "network", "Mbit/s"),
)


@transaction.atomic
def set_config(device: Device, changes: dict, by, *, confirmed: bool = False) -> None:
    """Change desired settings (keys of agent.wire.messages.Config) and send them down.

    confirmed: a person answers for it that observations leave the device; without that, none is set to hybrid.
    """
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
    leaving = checked.mode == "hybrid" != before.mode
    if leaving and not confirmed:
        raise Refused(
            f"In hybrid mode {device.name} sends observations to this server: what its camera sees, the instructions "
            "and the robot's state. Confirm that they may leave the device."
        )
    stored = msgspec.to_builtins(checked)
    Device.objects.filter(pk=device.pk).update(config=stored, config_version=locked.config_version + 1)
    outbox.write_desired([device.pk])
    words = ", ".join(_changes(before, checked))
    record(
        "device.config",
        f"Settings of {device.name}: {words}",
        level="warn" if leaving else "info",
        detail="Confirmed: observations of heavy requests leave the device for this server." if leaving else "",
        actor=by,
        device=device,
    )


#: A budget's words, of its number in the setting's own unit.
BUDGETS = {
    "memory_budget": ("memory", lambda value: " ".join(units.capacity(value))),
    "cpu_budget": ("processor time", lambda value: f"{units.digits(value)} % of all cores"),
    "power_budget": ("power", lambda value: f"{units.digits(value)} W"),
    "temperature_budget": ("temperature", lambda value: f"{units.digits(value)} °C"),
}


# --- Maintenance ----------------------------------------------------------------------------------------------------


@transaction.atomic
def pin(device: Device, reason: str, by) -> None:
    """Keep it at what it runs: rollouts leave it out, and what has not been installed yet is taken back."""
    from fleet.rollouts.services import keep_for_device

    reason = text.line(reason, "The reason", 200, "Say why the device stays at what it runs.")
    Device.objects.filter(pk=device.pk).update(pinned=reason)
    keep_for_device(device, f"It was pinned: {reason}"[:1000])
    record("device.pinned", f"{device.name} stays at what it runs", detail=reason, actor=by, device=device)


@transaction.atomic
def unpin(device: Device, by) -> None:
    if not Device.objects.filter(pk=device.pk).exclude(pinned="").update(pinned=""):
        raise Refused(f"{device.name} is not pinned.")
    record("device.unpinned", f"Rollouts may change {device.name} again", actor=by, device=device)


@transaction.atomic
def set_time_zone(devices: Iterable[Device], name: str, by) -> int:
    """Where their maintenance windows are; an empty name leaves that to each rollout. Returns how many changed."""
    from fleet.rollouts.pace import zone

    if name:
        zone(name)
    ids = [device.pk for device in devices]
    changed = Device.objects.filter(pk__in=ids).exclude(time_zone=name).update(time_zone=name)
    if changed:
        words = f"The time zone of {changed} device{'' if changed == 1 else 's'} is {name or 'that of each rollout'}"
        record("device.time_zone", words, actor=by)
        announce(*(f"device:{pk}" for pk in ids[:200]))
    return changed


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
    for field, name, unit in DECISION_BUDGETS:
        if getattr(after, field) != getattr(before, field):
            yield (
                f"{name} {getattr(after, field):g} {unit} at most" if getattr(after, field) else f"{name} as by default"
            )
    for name, (what, said) in BUDGETS.items():
        value = getattr(after, name)
        if value != getattr(before, name):
            yield f"{what} at most {said(value)}" if value else f"no budget of {what}"


# --- Groups ---------------------------------------------------------------------------------------------------------


def _group_fields(name: str, description: str) -> dict[str, str]:
    return {
        "name": text.slug(name, "A group's name"),
        "description": text.line(description, "A group's description", 256),
    }


def _filled_by_hand(group: Group) -> None:
    if group.dynamic:
        raise Refused(f"Who is in {group.name} is decided by its query; change the query, or the devices' tags.")


def _not_named(group: Group, what: str) -> None:
    """Another group's query would mean something else all at once."""
    if users := queries.users_of(group):
        raise Refused(f"{group.name} cannot be {what}: the query of {', '.join(users[:3])} names it.")


@transaction.atomic
def create_group(name: str, description: str, by, query: str = "") -> Group:
    """A static group, or with a query a dynamic one. Raises Refused, for its query SearchError."""
    given = _group_fields(name, description)
    if query.strip():
        given["query"] = queries.checked(query)
        if Group.objects.exclude(query="").count() >= queries.MOST_DYNAMIC:
            raise Refused(f"There are at most {queries.MOST_DYNAMIC} groups with a query; delete one first.")
    try:
        with transaction.atomic():
            group = Group.objects.create(**given)
    except IntegrityError as problem:
        raise Refused(f"There is already a group called {given['name']}.") from problem
    record("group.created", f"Group {group.name} was made", detail=group.query, actor=by)
    announce("groups")
    return group


@transaction.atomic
def update_group(group: Group, name: str, description: str, by, query: str | None = None) -> None:
    """query: of a dynamic group, its new one; None leaves it. A static group stays static."""
    given = _group_fields(name, description)
    if given["name"] != group.name:
        _not_named(group, "renamed")
    if query is not None:
        if not group.dynamic:
            raise Refused(f"{group.name} is filled by hand; make a new group for a query.")
        given["query"] = queries.checked(query)
    before = group.query
    try:
        with transaction.atomic():
            Group.objects.filter(pk=group.pk).update(**given)
    except IntegrityError as problem:
        raise Refused(f"There is already a group called {given['name']}.") from problem
    group.refresh_from_db()
    said = f"Its query was {before}, and is {group.query}" if group.query != before else ""
    record("group.updated", f"Group {group.name} was changed", detail=said, actor=by)
    announce("groups")


@transaction.atomic
def delete_group(group: Group, by) -> None:
    _not_named(group, "deleted")
    name = group.name
    group.delete()
    record("group.deleted", f"Group {name} was deleted; its devices stay", level="warn", actor=by)
    announce("groups")


@transaction.atomic
def add_to_group(group: Group, devices: Iterable[Device], by) -> int:
    _filled_by_hand(group)
    before = group.devices.count()
    group.devices.add(*devices)
    added = group.devices.count() - before
    record("group.members", f"{added} devices joined {group.name}", actor=by)
    announce("groups")
    return added


@transaction.atomic
def remove_from_group(group: Group, devices: Iterable[Device], by) -> int:
    _filled_by_hand(group)
    before = group.devices.count()
    group.devices.remove(*devices)
    removed = before - group.devices.count()
    record("group.members", f"{removed} devices left {group.name}", actor=by)
    announce("groups")
    return removed
