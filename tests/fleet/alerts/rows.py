"""Devices and rules that tests of alerts stand on, all at one moment."""

from django.utils import timezone

from fleet.alerts.conditions import CONDITIONS
from fleet.alerts.models import Alert, Rule
from fleet.devices.models import Device
from tests.conftest import make_device

NOW = timezone.now().replace(microsecond=0)


def rule(condition: str = "temperature", **given) -> Rule:
    if CONDITIONS[condition].measure:
        given = {"threshold": 80} | given
    return Rule.objects.create(**{"name": condition, "condition": condition, **given})


def there(**given) -> Device:
    return make_device(**{"online": True, "last_seen": NOW, "sample_at": NOW, **given})


def stages() -> dict[str, str]:
    return {alert.subject: alert.stage for alert in Alert.objects.order_by("pk")}


def make_many(number: int, **given) -> None:
    Device.objects.bulk_create(
        Device(
            **{
                "id": f"m-{n:06d}",
                "name": f"cam-{n:06d}",
                "nonce": f"m-{n:06d}",
                "salt": b"",
                "digest": b"",
                "admission": "accepted",
                "device_class": "embedded",
                "online": True,
                "last_seen": NOW,
                "sample_at": NOW,
                **given,
            }
        )
        for n in range(number)
    )
