"""How much may be asked: requests a minute and bytes a day, of one device and of all. Pure: the time is an argument."""

import math
from dataclasses import dataclass

from fleet.brokers.rates import TokenBucket


@dataclass(frozen=True, slots=True)
class Quota:
    """0 is no limit. Bytes are those of requests' bodies, within a day of UTC."""

    requests_per_minute: int
    bytes_per_day: int

    def bucket(self, now: float) -> TokenBucket:
        """A minute's requests may come at once; in the long run they come as fast as the quota says."""
        many = self.requests_per_minute or math.inf
        return TokenBucket(many, many / 60, now)


def refused(quota: Quota, whose: str, bucket: TokenBucket, spent: int, size: int, now: float) -> tuple[str, int] | None:
    """The sentence, and the seconds until it is worth asking again; None when the request may come.

    spent: bytes of today so far; now: of a clock that does not go back. Takes nothing from the bucket.
    """
    if quota.bytes_per_day and spent + size > quota.bytes_per_day:
        return f"{whose} has had its {quota.bytes_per_day:,} bytes of today; they begin anew at midnight UTC.", 0
    if bucket.left(now) < 1:
        return f"{whose} asks more than its {quota.requests_per_minute:,} requests a minute.", 1
    return None


def until_midnight(unix: float) -> int:
    """Whole seconds until the next day of UTC begins."""
    return 86_400 - int(unix) % 86_400
