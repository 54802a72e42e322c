"""How lists are asked for: pages, and words that narrow them. What no database could answer is refused at the door."""

from typing import Annotated

from ninja import Field, Schema
from ninja.pagination import LimitOffsetPagination
from pydantic import AfterValidator

from fleet import text

#: A row's number; a larger one overflows the database's own integers.
Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
#: A place in a list: no list has more rows, and every database can count to it.
LAST = 2**31 - 1


def _searched(given: str) -> str:
    return text.line(given, "A search", 128)


#: Text that a list is narrowed by.
Search = Annotated[str, AfterValidator(_searched)]


class Paged(LimitOffsetPagination):
    """`limit` rows from `offset` on."""

    items_attribute = "items"

    class Input(Schema):
        limit: int = Field(100, ge=1, le=10_000)
        offset: int = Field(0, ge=0, le=LAST)
