"""How much may be asked."""

import pytest

from fleet.inference.quotas import Quota, refused, until_midnight


def test_requests_of_a_minute_may_come_at_once_and_come_again_with_time():
    quota = Quota(60, 0)
    bucket = quota.bucket(0.0)
    for _ in range(60):
        assert refused(quota, "It", bucket, 0, 10, 0.0) is None
        bucket.take(0.0)
    words, seconds = refused(quota, "It", bucket, 0, 10, 0.5) or ("", 0)
    assert (words, seconds) == ("It asks more than its 60 requests a minute.", 1)
    assert refused(quota, "It", bucket, 0, 10, 1.01) is None


def test_bytes_of_a_day_end():
    quota = Quota(0, 1000)
    bucket = quota.bucket(0.0)
    assert refused(quota, "It", bucket, 900, 100, 0.0) is None
    words, seconds = refused(quota, "It", bucket, 901, 100, 0.0) or ("", 1)
    assert words.startswith("It has had its 1,000 bytes of today")
    assert seconds == 0


def test_0_is_no_limit():
    quota = Quota(0, 0)
    bucket = quota.bucket(0.0)
    for _ in range(10_000):
        bucket.take(0.0)
    assert refused(quota, "It", bucket, 10**15, 10**9, 0.0) is None


@pytest.mark.parametrize(("now", "seconds"), [(0, 86_400), (86_399, 1), (86_400 * 20_000 + 3600, 82_800)])
def test_a_day_ends_at_midnight(now, seconds):
    assert until_midnight(now) == seconds
