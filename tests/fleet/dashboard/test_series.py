"""Which piece of time charts show, and from what it is drawn."""

import pytest

from fleet.dashboard.series import HOUR, MINUTE, SAMPLE, view_of, zoom_of

NOW = 1_800_000_000.0
DAY = 86_400
KEPT = {SAMPLE: 2 * DAY, MINUTE: 30 * DAY, HOUR: 400 * DAY}


def test_without_a_zoom_a_view_ends_now_and_moves_on():
    view = view_of("6h", None, NOW, KEPT)
    assert (view.start, view.end, view.fixed) == (NOW - 6 * 3600, NOW, False)
    assert view.chosen.source == MINUTE


@pytest.mark.parametrize(
    ("ago", "span", "bucket", "source"),
    [
        (600, 300, 2, SAMPLE),
        (DAY, 3600, 10, SAMPLE),
        (DAY, 3601, 60, MINUTE),
        (3 * DAY, 600, 60, MINUTE),  # samples of that time are gone
        (60 * DAY, 600, 3600, HOUR),  # roll-ups of a minute, too
        (80 * DAY, 60 * DAY, 7200, HOUR),
        (500 * DAY, 60, 7200, HOUR),  # nothing is kept so long: it is looked for all the same
    ],
)
def test_a_zoom_is_drawn_from_the_finest_that_is_kept_so_long(ago, span, bucket, source):
    view = view_of("1h", (NOW - ago, NOW - ago + span), NOW, KEPT)
    assert (view.chosen.bucket, view.chosen.source, view.fixed) == (bucket, source, True)
    assert view.span == span


def test_a_zoom_is_read_from_an_address():
    assert zoom_of({"from": "1799999000000", "to": "1799999900000"}, NOW) == (1_799_999_000.0, 1_799_999_900.0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"from": "1799999000000"},
        {"from": "x", "to": "1799999900000"},
        {"from": "1799999900000", "to": "1799999000000"},  # backwards
        {"from": "1799999000000", "to": "1799999000001"},  # nothing
        {"from": "1000000000", "to": "1799999000000"},  # years
        {"from": "1800000001000", "to": "1800000900000"},  # to come
        {"from": "٣", "to": "٤"},
    ],
)
def test_what_is_no_piece_of_time_is_no_zoom(given):
    assert zoom_of(given, NOW) is None
