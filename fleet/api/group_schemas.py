"""What the API takes and gives of groups."""

from ninja import Field, Schema


class GroupIn(Schema):
    name: str = Field(max_length=64)
    description: str = Field("", max_length=256)
    query: str = Field("", max_length=500, description="a search; without one people put devices into the group")


class GroupChange(Schema):
    """What is absent stays. A group that people fill takes no query."""

    name: str | None = Field(None, max_length=64)
    description: str | None = Field(None, max_length=256)
    query: str | None = Field(None, max_length=500)


class GroupOut(Schema):
    name: str
    description: str
    query: str = Field(description="of a group by query; else empty")
    devices: int = Field(description="in service that are in it at this moment")


class GroupPreviewOut(Schema):
    """What a query would make of a group; the names are the first of those counted."""

    members: int
    joining: int
    leaving: int
    joins: list[str]
    leaves: list[str]
