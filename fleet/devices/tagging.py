"""Tags on devices: of one device all at once, of many some. Constant in queries, whatever the number of devices."""

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import Count, Q

from agent.wire import tags
from fleet.audit.services import announce, record
from fleet.devices.models import Device, Tag
from fleet.errors import Refused

#: Rows of one statement.
BATCH = 2000


def words_of(text: str) -> list[str]:
    """`site=berlin, floor=2` or the same with blanks between, as people type tags."""
    return text.replace(",", " ").split()


def collected(words: Iterable[str]) -> dict[str, str]:
    """Tags by name. Raises Refused for a word that is no tag, and for too many."""
    try:
        return tags.collect(words)
    except ValueError as problem:
        said = str(problem)
        raise Refused(f"{said[:1].upper()}{said[1:]}.") from problem


def put(device: Device, found: dict[str, str]) -> None:
    """Give a new device its tags, in the caller's transaction."""
    Tag.objects.bulk_create(Tag(device=device, key=key, value=value) for key, value in found.items())


@transaction.atomic
def replace(device: Device, words: Iterable[str], by) -> None:
    """Make these its tags, and no others. Raises Refused for a word that is no tag, and for too many."""
    wanted = collected(words)
    Device.objects.select_for_update().get(pk=device.pk)
    if wanted == dict(device.tags.values_list("key", "value")):
        return
    device.tags.all().delete()
    put(device, wanted)
    said = ", ".join(tags.written(*each) for each in wanted.items()) or "none"
    record("device.tags", f"Tags of {device.name}: {said}", actor=by, device=device)


@transaction.atomic
def change(devices: Sequence[Device], by, add: Iterable[str] = (), remove: Iterable[str] = ()) -> int:
    """Add tags to many devices, and take others from them; of those left out a bare name means any value.

    Returns how many devices were named. Raises Refused, and then nothing has changed.
    """
    adding, removing = collected(add), list(dict.fromkeys(remove))
    leaving = Q(pk__in=[])
    for word in removing:
        ((key, value),) = collected([word]).items()
        leaving |= Q(key=key, value=value) if "=" in word else Q(key=key)
    if not adding and not removing:
        raise Refused("Name at least one tag, as in site=berlin.")
    ids = [device.pk for device in devices]
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        if removing:
            Tag.objects.filter(leaving, device__in=some).delete()
        Tag.objects.bulk_create(
            (Tag(device_id=pk, key=key, value=value) for pk in some for key, value in adding.items()),
            batch_size=BATCH,
            update_conflicts=True,
            unique_fields=["device", "key"],
            update_fields=["value"],
        )
        _not_too_many(some)
    said = [f"now {', '.join(tags.written(*each) for each in adding.items())}"] if adding else []
    said += [f"without {', '.join(removing)}"] if removing else []
    record("device.tags", f"Tags of {len(ids):,} device{'' if len(ids) == 1 else 's'}: {', '.join(said)}", actor=by)
    announce("devices", *(f"device:{pk}" for pk in ids[:200]))
    return len(ids)


def _not_too_many(ids: list[str]) -> None:
    counted = (
        Tag.objects.filter(device__in=ids).order_by("device").values("device", "device__name").annotate(n=Count("pk"))
    )
    if over := counted.filter(n__gt=tags.MOST).first():
        raise Refused(f"A device has at most {tags.MOST} tags; {over['device__name']} would have {over['n']}.")
