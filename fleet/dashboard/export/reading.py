"""Rows as an export reads them: block by block, in a few queries and little memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet

from fleet.dashboard.export.table import BLOCK
from fleet.dashboard.selectors import devices as of_devices
from fleet.errors import Refused

Params = Mapping[str, str]


def readable(params: Params, now: datetime) -> Params:
    """An empty file would say that no device matches. Raises Refused."""
    problem = of_devices.search_of(params, now).problem
    if problem:
        raise Refused(problem.sentence)
    return params


def in_order(rows: QuerySet[Any], look: Callable[[list[Any]], Sequence[Model]]) -> Iterator[list[Any]]:
    """Rows in the order of a query, block by block: only their ids are held, some hundred bytes each."""
    ids = list(rows.values_list("pk", flat=True))
    for start in range(0, len(ids), BLOCK):
        wanted = ids[start : start + BLOCK]
        found = {row.pk: row for row in look(wanted)}
        yield [found[pk] for pk in wanted if pk in found]


def newest_first(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """Rows by falling number, block by block: nothing is held, and rows that are added meanwhile change nothing."""
    before = None
    while True:
        block = list((rows.filter(pk__lt=before) if before else rows).order_by("-pk")[:BLOCK])
        if block:
            yield block
        if len(block) < BLOCK:
            return
        before = block[-1].pk
