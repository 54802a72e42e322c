"""What a list's address says: filters, order, page. Pure; anything hostile or unknown becomes the default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

PER_PAGE = (50, 100)
#: A search longer than this finds nothing that a shorter one would not.
MAX_TEXT = 100


def text(params: Mapping[str, str], name: str, longest: int = MAX_TEXT) -> str:
    """A search text, without NUL (PostgreSQL refuses it) and bounded."""
    return params.get(name, "").replace("\0", "").strip()[:longest]


def choice(params: Mapping[str, str], name: str, allowed: Sequence[str], default: str = "") -> str:
    given = params.get(name, "")
    return given if given in allowed else default


def number(params: Mapping[str, str], name: str, default: int, lowest: int = 1, highest: int = 2**31 - 1) -> int:
    given = params.get(name, "")
    if not (given.isascii() and given.isdigit() and len(given) <= 10):
        return default
    return min(max(int(given), lowest), highest)


@dataclass(frozen=True, slots=True)
class Order:
    """A column to sort by, and which way."""

    column: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.column}" if self.descending else self.column


def order(params: Mapping[str, str], columns: Sequence[str], default: str) -> Order:
    given = params.get("sort", default)
    column = given.removeprefix("-")
    if column not in columns:
        given, column = default, default.removeprefix("-")
    return Order(column, given.startswith("-"))


@dataclass(frozen=True, slots=True)
class Pager:
    """One page of a list. `number` counts from 1 and is never beyond the last page."""

    total: int
    number: int
    per_page: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.per_page))

    @property
    def start(self) -> int:
        return (self.number - 1) * self.per_page

    @property
    def end(self) -> int:
        return min(self.start + self.per_page, self.total)

    @property
    def first(self) -> int:
        """The first row's number, as people count; 0 on an empty list."""
        return self.start + 1 if self.total else 0

    @property
    def numbers(self) -> list[int]:
        """Page numbers to offer; a 0 stands for a gap."""
        wanted = sorted({1, self.pages, *range(max(1, self.number - 1), min(self.pages, self.number + 1) + 1)})
        shown: list[int] = []
        for page in wanted:
            if shown and page > shown[-1] + 1:
                shown.append(0)
            shown.append(page)
        return shown


def pager(params: Mapping[str, str], total: int, per_page: int = 0) -> Pager:
    if not per_page:
        per_page = number(params, "per", PER_PAGE[0])
        per_page = per_page if per_page in PER_PAGE else PER_PAGE[0]
    asked = number(params, "page", 1)
    last = max(1, -(-total // per_page))
    return Pager(total, min(asked, last), per_page)


@dataclass(frozen=True, slots=True)
class State:
    """The parameters of a list's address, to make other addresses of it."""

    params: Mapping[str, str]

    def url(self, **changes: str | int | None) -> str:
        """`?…` with these parameters changed (empty or None: taken out). Any change but of the page goes to page 1."""
        merged = {key: value for key, value in self.params.items() if value}
        if "page" not in changes:
            merged.pop("page", None)
        for key, value in changes.items():
            if value in (None, ""):
                merged.pop(key, None)
            else:
                merged[key] = str(value)
        return "?" + urlencode(merged)
