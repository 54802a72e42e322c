"""Which variant is lighter on a device that is short of something, as its trial measured it."""

from fleet.catalog.models import ModelVersion, Variant
from fleet.devices.models import Device

WORDS = {"memory": "memory", "cpu": "processor time", "power": "power", "temperature": "power"}


def short_of(device: Device) -> str:
    """The budget for which the device asks for a smaller variant; empty when it does not ask."""
    asked = (each for each in device.restraints if each.get("step") == "smaller_variant")
    return next((str(each["budget"]) for each in asked), "")


def weight(variant: Variant, budget: str) -> float:
    """Bytes of memory; for the other budgets milliseconds of a decision, which processor time, power and heat follow.

    Infinite where it was not measured.
    """
    if budget == "memory":
        return float(variant.manifest.get("memory_bytes") or "inf")
    return float(variant.trial.figures.get("p50_ms") or "inf")


def lightest(version: ModelVersion, device: Device, budget: str) -> Variant | None:
    """Of the version, for the device's class, lighter than what it runs; None when there is none. One query."""
    rows = Variant.objects.filter(version=version, device_class=device.device_class).select_related("trial")
    variants = list(rows)
    now = min(
        (weight(each, budget) for each in variants if each.manifest_digest == device.active_manifest),
        default=float("inf"),
    )
    lighter = [each for each in variants if weight(each, budget) < now]
    return min(lighter, key=lambda each: weight(each, budget), default=None)
