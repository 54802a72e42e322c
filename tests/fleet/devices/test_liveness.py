"""A device's liveness follows from its last message and its last will alone."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.devices.liveness import Liveness, ago, filter_by, liveness
from fleet.devices.models import Device
from tests.conftest import make_device

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
CASES = [
    (False, None, None, Liveness.NEVER),
    (True, timedelta(seconds=5), timedelta(seconds=5), Liveness.ONLINE),
    (False, timedelta(seconds=5), timedelta(seconds=5), Liveness.OFFLINE),
    (True, timedelta(minutes=5), timedelta(seconds=5), Liveness.OFFLINE),
    (True, timedelta(seconds=5), timedelta(minutes=5), Liveness.SILENT),
    (True, timedelta(seconds=5), None, Liveness.SILENT),
]


@pytest.mark.parametrize(("online", "seen", "sample", "expected"), CASES)
def test_the_rule(online, seen, sample, expected):
    assert liveness(online, seen and NOW - seen, sample and NOW - sample, NOW) is expected


@pytest.mark.django_db
def test_the_database_filters_by_the_same_rule():
    for online, seen, sample, _ in CASES:
        make_device(online=online, last_seen=seen and NOW - seen, sample_at=sample and NOW - sample)
    for word in Liveness:
        found = filter_by(Device.objects.all(), word, NOW)
        assert found.count() == sum(case[3] is word for case in CASES)
        for device in found:
            assert liveness(device.online, device.last_seen, device.sample_at, NOW) is word


def test_times_are_said_in_the_largest_fitting_unit():
    assert [ago(NOW - timedelta(seconds=s), NOW) for s in (0, 59, 60, 7200, 200_000)] == [
        *("0 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago")
    ]
