"""The two sides of a comparison: their figures, and how their latency and energy are distributed."""

from collections.abc import Callable, Iterator
from datetime import datetime

from django.http import Http404

from fleet.dashboard.comparing import Side
from fleet.dashboard.distribution import edges
from fleet.dashboard.export.reading import Params
from fleet.dashboard.export.table import Table, count, number, text, time
from fleet.dashboard.selectors.compare import Asked, asked, compared
from fleet.errors import Refused


def _sides(given: Asked) -> list[tuple[str, Side]]:
    """`a` and `b`. Raises Refused where the address does not name both."""
    found = compared(given)
    if found.a is None or found.b is None:
        raise Refused(" ".join(found.problems.values()) or "Name two to compare: kind=…, a=… and b=….")
    return [("a", found.a), ("b", found.b)]


def figures(params: Params, of: str, now: datetime) -> Table[tuple[str, Side]]:
    """A row for each side. A quantile that too few decisions stand behind is empty, as on the page."""
    given = asked(params, now)
    start, end = given.span

    def latency(share: float) -> Callable[[tuple[str, Side]], float | None]:
        return lambda row: row[1].latency(share)

    def interval(place: int) -> Callable[[tuple[str, Side]], float | None]:
        return lambda row: row[1].interval[place] if row[1].interval else None

    columns = (
        text("side", lambda row: row[0]),
        text("name", lambda row: row[1].name),
        time("from", lambda row: start),
        time("to", lambda row: end),
        count("decisions", lambda row: row[1].decisions),
        *(number(f"latency_p{share * 100:.0f}_ms", latency(share)) for share in (0.5, 0.95, 0.99)),
        number("energy_joules_per_action", lambda row: row[1].summary.energy),
        text("energy_source", lambda row: row[1].summary.energy_source),
        count("episodes", lambda row: row[1].episodes),
        count("successes", lambda row: row[1].successes),
        number("success_share", lambda row: row[1].summary.success),
        number("success_share_low_95", interval(0)),
        number("success_share_high_95", interval(1)),
        count("errors", lambda row: int(row[1].summary.sums["errors"])),
        count("nan", lambda row: int(row[1].summary.sums["not_finite"])),
    )
    return Table("compare", columns, iter([_sides(given)]))


def distribution(params: Params, of: str, now: datetime) -> Table[tuple]:
    """`latency`: decisions by the bins that their latency is counted in; `energy`: the means that the page draws.

    Raises Http404 for another one.
    """
    found = _DISTRIBUTIONS.get(of)
    if found is None:
        raise Http404(f"There is no distribution of {of}; there is {' and '.join(_DISTRIBUTIONS)}.")
    return found(_sides(asked(params, now)))


def _latency(sides: list[tuple[str, Side]]) -> Table[tuple]:

    def rows() -> Iterator[list[tuple]]:
        for key, side in sides:
            yield [
                (key, side.name, *edges(number), decisions) for number, decisions in sorted(side.summary.bins.items())
            ]

    columns = (
        text("side", lambda row: row[0]),
        text("name", lambda row: row[1]),
        number("from_ms", lambda row: row[2]),
        number("to_ms", lambda row: row[3]),
        count("decisions", lambda row: row[4]),
    )
    return Table("compare-latency", columns, rows())


def _energy(sides: list[tuple[str, Side]]) -> Table[tuple]:

    def rows() -> Iterator[list[tuple]]:
        for key, side in sides:
            yield [(key, side.name, joules) for joules in sorted(side.summary.energies)]

    columns = (
        text("side", lambda row: row[0]),
        text("name", lambda row: row[1]),
        number("mean_joules_per_action", lambda row: row[2]),
    )
    return Table("compare-energy", columns, rows())


_DISTRIBUTIONS = {"latency": _latency, "energy": _energy}
