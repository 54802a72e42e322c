from fleet.brokers.rates import FailureThrottle, TokenBucket


def test_a_bucket_allows_a_burst_and_then_a_rate():
    bucket = TokenBucket(burst=3, per_second=2, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert not bucket.take(0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_an_address_that_fails_too_often_has_to_wait_and_others_do_not():
    throttle = FailureThrottle(burst=2, per_second=1)
    throttle.failed("10.0.0.1", 0.0)
    assert throttle.open("10.0.0.1", 0.0)
    throttle.failed("10.0.0.1", 0.0)
    assert not throttle.open("10.0.0.1", 0.5)
    assert throttle.open("10.0.0.2", 0.5)
    assert throttle.open("10.0.0.1", 1.5)


def test_only_so_many_addresses_are_remembered():
    throttle = FailureThrottle(burst=2, per_second=1, addresses=3)
    for number in range(10):
        throttle.failed(f"10.0.0.{number}", 0.0)
        throttle.failed(f"10.0.0.{number}", 0.0)
    closed = [number for number in range(10) if not throttle.open(f"10.0.0.{number}", 0.0)]
    assert closed == [7, 8, 9]
