"""Time, handed in: whoever needs the time is given a clock, so that a test can own it.

Milliseconds since the epoch inside, RFC 3339 in UTC with milliseconds at the boundaries.
"""

import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """What tells the time: the wall clock for facts, the monotonic one for waiting."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since the Unix epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; on Linux those that the machine was asleep count too."""
        if sys.platform == "linux":
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()


def rfc3339(at_ms: int) -> str:
    """Write milliseconds since the epoch as RFC 3339 in UTC, e.g. ``2026-11-21T20:11:54.123Z``."""
    at_s, ms = divmod(at_ms, 1000)
    return f"{_to_the_second(at_s)}.{ms:03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(at_s: int) -> str:
    """Kept, since the deadlines of holds made together are in the same second."""
    return datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None).isoformat()


def parse_rfc3339(text: str) -> int:
    """Read an RFC 3339 time with a zone into milliseconds since the epoch.

    Raises:
        ValueError: not a time, or a time without a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, as in 2026-11-21T20:11:54.123Z")
    return round(moment.timestamp() * 1000)
