"""What is offered at the cursor."""

import pytest

from fleet.devices import tagging
from fleet.devices.models import Group
from fleet.search.completion import place
from fleet.search.existing import offers
from tests.conftest import make_device
from tests.fleet.builders import make_release


def offered(text: str, cursor: int | None = None) -> list[str]:
    return [each.text for each in offers(place(text, len(text) if cursor is None else cursor))]


def taken(text: str, cursor: int, offer: str) -> str:
    here = place(text, cursor)
    return text[: here.start] + offer + text[here.end :]


@pytest.fixture
def fleet(operator):
    first, second, third = make_device(name="arm-1"), make_device(name="arm 2"), make_device(name="cam-1")
    tagging.change([first, second], operator, add=["site=berlin", "spare"])
    tagging.replace(third, ["site=bern", "floor=2"], operator)
    Group.objects.create(name="bench", description="In hall A")
    Group.objects.create(name="berliners", query="tag:site=berlin")
    make_release()
    return first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cl", ["class:"]),
        ("class:", ["embedded", "mobile", "edge_server"]),
        ("class:m", ["mobile"]),
        ("online CLASS:e", ["embedded", "edge_server"]),
        ("off", ["offline"]),
        ("-off", ["offline"]),
        ("(off", ["offline"]),
        ("is:re", ["rejected", "retired", "restrained", "real"]),
        ("mem", ["memory>"]),
        ("memory<4", ["4GB", "4MB", "4TB", "4KB", "4GiB"]),
        ("seen>3", ["3s", "3min", "3h", "3d", "3w"]),
        ("tag:", ["site=", "spare", "floor="]),
        ("tag:si", ["site="]),
        ("tag:site=", ["site=berlin", "site=bern"]),
        ("tag:site=berl", ["site=berlin"]),
        ("tag:nothing", []),
        ("group:be", ["bench", "berliners"]),
        ("ber", ["tag:site=berlin", "tag:site=bern", "group:berliners"]),
        ("model:", ["arm", "none"]),
        ("model:arm@", ["arm@1"]),
        ("variant:fp", ["fp16-1"]),
        ("name:arm", ['"arm 2"', "arm-1"]),
        ('name:"arm 2', ['"arm 2"']),
        ("bogus:x", []),
        ('"off', []),
    ],
)
def test_what_is_offered(fleet, text, expected):
    assert offered(text) == expected


def test_an_empty_field_offers_fields_and_then_states(fleet):
    assert offered("")[:3] == ["tag:", "class:", "group:"]
    assert len(offered("")) == 12


def test_an_offer_takes_the_whole_word_at_the_cursor_and_nothing_else():
    assert taken("online clas offline", 9, "class:") == "online class: offline"
    assert taken("tag:site=bern x", 11, "site=berlin") == "tag:site=berlin x"
    assert taken("-(off)", 5, "offline") == "-(offline)"
    assert taken("", 0, "tag:") == "tag:"
    assert taken("a ", 2, "tag:") == "a tag:"


@pytest.mark.parametrize("cursor", [-5, 0, 3, 99])
def test_a_cursor_that_is_nowhere_is_at_an_end(fleet, cursor):
    assert isinstance(offered("tag:si off", cursor), list)


@pytest.mark.parametrize("text", ["tag:", "tag:site=b", "ber", "group:", "model:arm@", "name:a", "board:", "variant:"])
def test_offers_cost_three_queries_at_most(fleet, text, django_assert_max_num_queries):
    with django_assert_max_num_queries(3):
        offered(text)
