"""Time at the boundaries."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock, parse_rfc3339, rfc3339

YEAR_2200_MS = 7_258_118_400_000


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_795_291_914_123) == "2026-11-21T20:11:54.123Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T20:11:54.123Z",
        "2026-11-21T20:11:54.123+00:00",
        "2026-11-21T21:11:54.123+01:00",
        "2026-11-21T20:11:54.1230Z",
        "2026-11-21 20:11:54.123Z",
    ],
)
def test_the_same_moment_in_any_zone(text: str) -> None:
    assert parse_rfc3339(text) == 1_795_291_914_123


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-21", "2026-11-21T20:11:54.123", "2026-13-01T00:00:00Z"]
)
def test_what_is_not_a_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999-23:59"])
def test_the_ends_of_the_calendar_are_moments_too(text: str) -> None:
    assert isinstance(parse_rfc3339(text), int)


@given(st.integers(0, YEAR_2200_MS))
def test_what_is_written_is_read_again(at_ms: int) -> None:
    assert parse_rfc3339(rfc3339(at_ms)) == at_ms


def test_the_system_clock_tells_the_time() -> None:
    clock = SystemClock()
    before, began = time.time_ns() // 1_000_000, clock.monotonic_s()
    assert before <= clock.now_ms() <= time.time_ns() // 1_000_000
    assert clock.monotonic_s() >= began
