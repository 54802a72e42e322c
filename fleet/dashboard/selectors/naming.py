"""What a manifest digest is called: which variant of which model's version."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from fleet.catalog.models import Variant


@dataclass(frozen=True, slots=True)
class Running:
    """A variant that a device runs or should run. bytes is the whole artifact's size."""

    model: str
    number: int
    variant: str
    digest: str
    bytes: int

    @property
    def version(self) -> str:
        return f"{self.model}@{self.number}"

    @property
    def url(self) -> str:
        return reverse("models.version", args=(self.model, self.number))

    def __str__(self) -> str:
        return f"{self.version} {self.variant}"


def running(digests: Iterable[str]) -> dict[str, Running]:
    """Names of those digests that the catalog knows; one query, none when there is nothing to look up."""
    wanted = set(filter(None, digests))
    if not wanted:
        return {}
    rows = (
        Variant.objects.filter(manifest_digest__in=wanted)
        .order_by("id")
        .values_list("version__model__name", "version__number", "trial__name", "manifest_digest", "bytes")
    )
    return {row[3]: Running(*row) for row in rows}
