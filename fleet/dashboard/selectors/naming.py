"""What a manifest digest is called: which variant of which model's version."""

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import fields as fields_of

from django.db.models import JSONField, OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.urls import reverse

from fleet.catalog.models import Variant
from fleet.dashboard.observations import card_of, observation_bytes
from fleet.search.words import quoted
from fleet.sentences import said


@dataclass(frozen=True, slots=True)
class Running:
    """A variant that a device runs or should run. bytes is the whole artifact's size.

    device_class is the one that it was made for: classes have variants of the same name.
    """

    model: str
    number: int
    variant: str
    digest: str
    bytes: int
    device_class: str

    @property
    def version(self) -> str:
        return f"{self.model}@{self.number}"

    @property
    def url(self) -> str:
        return reverse("models.version", args=(self.model, self.number))

    @property
    def search(self) -> str:
        """The search for devices that run it."""
        return f"model:{self.version} variant:{quoted(self.variant)}"

    def __str__(self) -> str:
        return f"{self.version} {said(self.variant)}"


_NAMES = ("version__model__name", "version__number", "trial__name", "manifest_digest", "bytes", "device_class")


def running(digests: Iterable[str]) -> dict[str, Running]:
    """Names of those digests that the catalog knows; one query, none when there is nothing to look up."""
    return {row[3]: Running(*row) for row in _known(digests).values_list(*_NAMES)}


def name_of(digest: OuterRef) -> Subquery:
    """The name of the digest that each row of another query has, to annotate it with; for `Running(**found)`."""
    fields = zip((field.name for field in fields_of(Running)), _NAMES, strict=True)
    found = Variant.objects.filter(manifest_digest=digest).order_by("-id")
    return Subquery(found.values(name_=JSONObject(**dict(fields)))[:1], JSONField())


@dataclass(frozen=True, slots=True)
class Observed:
    """A variant, and the bytes of an observation by its policy card; None without a card that can be read."""

    running: Running
    observation: int | None


def observed(digests: Iterable[str]) -> dict[str, Observed]:
    """As `running`, with the observations' sizes; one query."""
    found = {}
    for *row, stored in _known(digests).values_list(*_NAMES, "version__card"):
        card = card_of(stored)
        found[row[3]] = Observed(Running(*row), observation_bytes(card) if card else None)
    return found


def _known(digests: Iterable[str]) -> QuerySet[Variant]:
    wanted = set(filter(None, digests))
    return Variant.objects.filter(manifest_digest__in=wanted).order_by("id") if wanted else Variant.objects.none()
