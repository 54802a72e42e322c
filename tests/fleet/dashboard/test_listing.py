"""What a list's address may say; anything else is the default."""

import pytest

from fleet.dashboard import listing
from fleet.dashboard.listing import Order, Pager, State


@pytest.mark.parametrize("given", ["", "-1", "1e3", "٣", "0x1", "9" * 40, "a", "1;drop", " 2"])
def test_no_number_is_the_default(given):
    assert listing.number({"page": given}, "page", 7) == 7


def test_a_number_is_held_to_its_bounds():
    assert listing.number({"page": "0"}, "page", 7) == 1
    assert listing.number({"page": "9999999999"}, "page", 7) == 2**31 - 1


@pytest.mark.parametrize("given", ["", "password", "-password", "--name", "name desc", "\0"])
def test_an_unknown_column_is_the_default_order(given):
    assert listing.order({"sort": given}, ("name", "p95"), "name") == Order("name")


def test_a_minus_turns_the_order():
    assert listing.order({"sort": "-p95"}, ("name", "p95"), "name") == Order("p95", descending=True)
    assert str(Order("p95", descending=True)) == "-p95"


def test_a_search_text_is_bounded_and_without_nul():
    assert listing.text({"q": " a\0b "}, "q") == "ab"
    assert len(listing.text({"q": "x" * 5000}, "q")) == listing.MAX_TEXT


def test_a_page_beyond_the_last_is_the_last():
    pager = listing.pager({"page": "99"}, total=120)
    assert (pager.number, pager.pages, pager.first, pager.end) == (3, 3, 101, 120)


def test_an_empty_list_has_one_page_and_no_rows():
    pager = listing.pager({}, total=0)
    assert (pager.number, pager.pages, pager.first, pager.end) == (1, 1, 0, 0)


@pytest.mark.parametrize("given", ["100000", "7", "", "-50"])
def test_only_50_or_100_rows_are_a_page(given):
    assert listing.pager({"per": given}, total=10).per_page == 50
    assert listing.pager({"per": "100"}, total=10).per_page == 100


@pytest.mark.parametrize(
    ("page", "shown"), [(1, [1, 2, 0, 20]), (2, [1, 2, 3, 0, 20]), (10, [1, 0, 9, 10, 11, 0, 20]), (20, [1, 0, 19, 20])]
)
def test_a_pager_offers_the_ends_and_the_neighbours(page, shown):
    assert Pager(total=1000, number=page, per_page=50).numbers == shown


def test_another_filter_begins_at_the_first_page_again():
    state = State({"q": "arm", "class": "", "page": "4"})
    assert state.url(state="online") == "?q=arm&state=online"
    assert state.url(page=5) == "?q=arm&page=5"
    assert state.url(q=None) == "?"
    assert state.url(q="a&b=c") == "?q=a%26b%3Dc"
