"""Trying again, with a sleep that takes no time."""

import random

from gateway.clock import SystemClock
from gateway.errors import Overloaded, Unavailable
from gateway.pos.patience import AWAY_MAX_S, Patience


def patience(slept: list[float]) -> Patience:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return Patience(SystemClock(), sleep, random.Random(1))


async def test_a_pause_is_as_long_as_the_other_side_asked_for() -> None:
    slept: list[float] = []
    await patience(slept).pause(1, 300, at_least_s=42)
    assert slept == [42]


async def test_nobody_makes_us_wait_longer_than_the_cap() -> None:
    slept: list[float] = []
    await patience(slept).pause(1, 300, at_least_s=86_400 * 365)
    await patience(slept).pause(50, 300)
    assert slept[0] == 300
    assert slept[1] <= 300


async def test_redis_is_asked_until_it_answers() -> None:
    slept: list[float] = []
    answers: list[Exception | str] = [Unavailable("away"), Overloaded("full"), "here"]

    async def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await patience(slept).insist(ask) == "here"
    assert len(slept) == 2
    assert all(0 < seconds <= AWAY_MAX_S for seconds in slept)
