"""Pauses between tries."""

import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from gateway.pos.backoff import FIRST_S, delay_s, retry_after_s

NOW_MS = 1_795_291_914_000


class Highest(random.Random):
    def random(self) -> float:
        return 1.0


class Lowest(random.Random):
    def random(self) -> float:
        return 0.0


def test_each_pause_is_twice_the_one_before_up_to_the_cap() -> None:
    pauses = [delay_s(attempt, 10, Highest()) for attempt in range(1, 7)]
    assert pauses == [FIRST_S, 2, 4, 8, 10, 10]


def test_half_of_a_pause_is_by_chance() -> None:
    assert delay_s(3, 300, Lowest()) == 2
    assert 2 <= delay_s(3, 300, random.Random(1)) <= 4


def test_a_very_late_attempt_does_not_overflow() -> None:
    assert delay_s(100_000, 300, Highest()) == 300


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
        (format_datetime(datetime.fromtimestamp(NOW_MS / 1000 + 30, UTC), usegmt=True), 30.0),
        (format_datetime(datetime.fromtimestamp(NOW_MS / 1000 - 30, UTC), usegmt=True), 0.0),
        ("Sat, 21 Nov 2026 20:11:54 -0000", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_ignored(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after_s(header, NOW_MS) == seconds
