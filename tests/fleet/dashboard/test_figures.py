"""Numbers as people read them."""

import pytest

from fleet.dashboard import figures
from fleet.dashboard.figures import NBSP, UNKNOWN


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.0842, "0.084"),
        (1, "1"),
        (1.07, "1.07"),
        (5.523, "5.52"),
        (9.999, "10.0"),
        (61, "61"),
        (61.04, "61.0"),
        (12.0, "12"),
        (99.99, "100"),
        (1234.5, "1,234"),
    ],
)
def test_three_digits_are_enough(value, said):
    assert figures.digits(value) == said


@pytest.mark.parametrize(
    ("size", "file", "memory"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1_990_000, "1.99 MB", "1.90 MiB"),
        (4 * 1024**3, "4.29 GB", "4 GiB"),
        (32 * 1024**3, "34.4 GB", "32 GiB"),
        (5e15, "5,000 TB", "4,547 TiB"),
    ],
)
def test_files_count_in_tens_and_memory_in_twos(size, file, memory):
    assert str(figures.file_size(size)).replace(NBSP, " ") == file
    assert str(figures.memory_size(size)).replace(NBSP, " ") == memory


@pytest.mark.parametrize(
    "show",
    [
        figures.milliseconds,
        figures.file_size,
        figures.memory_size,
        figures.percent,
        figures.celsius,
        figures.watts,
        figures.points,
    ],
)
def test_what_is_not_known_is_never_a_zero(show):
    assert show(None) == UNKNOWN
    assert not show(None)
    assert str(show(None)) == "not reported"
    assert show(0)


def test_a_share_of_nothing_is_not_known():
    assert figures.share(0, 0) is None
    assert figures.share(None, 4) is None
    assert figures.share(1, 4) == 0.25


def test_a_change_has_its_sign():
    assert str(figures.change(1.99, 5.26)) == f"−62{NBSP}%"
    assert str(figures.change(6, 5)) == f"+20{NBSP}%"
    assert figures.change(6, 0) == UNKNOWN
    assert figures.change(None, 5) == UNKNOWN


def test_points_have_their_sign():
    assert str(figures.points(-1.24)) == f"−1.2{NBSP}points"
    assert str(figures.points(0.5)) == f"+0.5{NBSP}points"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (600, "10 min"),
        (3725, "1 h 2 min"),
        (7200, "2 h"),
        (90_000, "1 d 1 h"),
        (604_800, "7 d"),
    ],
)
def test_durations_keep_two_units_at_most(seconds, said):
    assert figures.duration(seconds) == said


def test_one_device_and_many_devices():
    assert figures.plural(1, "device") == "1 device"
    assert figures.plural(2418, "device") == "2,418 devices"
    assert figures.plural(2, "battery", "batteries") == "2 batteries"


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "not reported"), (0, "0.0 %"), (1, "100.0 %"), (0.99997, "> 99.9 %"), (0.00002, "< 0.1 %")],
)
def test_a_share_that_is_not_all_never_reads_as_all(share, said):
    assert str(figures.nearly(share)).replace("\N{NO-BREAK SPACE}", " ") == said


@pytest.mark.parametrize(
    ("joules", "said"), [(0.31, "310 mJ"), (4.2, "4.20 J"), (45_120, "45.1 kJ"), (3_600_000, "3.60 MJ")]
)
def test_joules_of_a_decision_and_of_a_fleet(joules, said):
    assert str(figures.joules(joules)).replace("\N{NO-BREAK SPACE}", " ") == said
