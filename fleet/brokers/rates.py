"""How often something may happen. Pure: the time is an argument."""


class TokenBucket:
    """At most `burst` at once and `per_second` in the long run. Times in seconds, of a clock that does not go back."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._tokens, self._at = burst, now

    def left(self, now: float) -> float:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens

    def take(self, now: float) -> bool:
        """Whether it may happen now; counts it when it may."""
        if self.left(now) < 1:
            return False
        self._tokens -= 1
        return True


class FailureThrottle:
    """Failures of each address. Remembers the last `addresses` that failed, so that a botnet cannot fill the memory."""

    def __init__(self, burst: float, per_second: float, addresses: int = 10_000) -> None:
        self._burst, self._per_second, self._addresses = burst, per_second, addresses
        self._buckets: dict[str, TokenBucket] = {}

    def open(self, address: str, now: float) -> bool:
        """Whether this address may try."""
        bucket = self._buckets.get(address)
        return bucket is None or bucket.left(now) >= 1

    def failed(self, address: str, now: float) -> None:
        bucket = self._buckets.pop(address, None) or TokenBucket(self._burst, self._per_second, now)
        bucket.take(now)
        self._buckets[address] = bucket  # at the end: the first is the one that failed longest ago
        if len(self._buckets) > self._addresses:
            del self._buckets[next(iter(self._buckets))]
