"""Who is told the time, and how often."""

import asyncio
from typing import Any

import pytest

from gateway.sockets import watch
from gateway.sockets.watch import Watch


class Socket:
    def __init__(self) -> None:
        self.told = 0

    def ticked(self) -> None:
        self.told += 1


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.005)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_every_socket_is_told_the_time_again_and_again() -> None:
    sockets = [Socket() for _ in range(3 * watch._SLICE + 1)]
    clock = Watch()
    for socket in sockets:
        clock.add(socket)
    await until(lambda: all(socket.told >= 3 for socket in sockets))


async def test_others_have_their_turn_in_the_middle_of_a_round() -> None:
    clock = Watch()
    sockets = [Socket() for _ in range(3 * watch._SLICE)]
    for socket in sockets:
        clock.add(socket)
    seen: set[int] = set()
    async with asyncio.timeout(30):
        while all(socket.told < 1 for socket in sockets) or not {0} < seen:
            seen.add(sum(socket.told == 1 for socket in sockets))
            await asyncio.sleep(0)
    assert watch._SLICE in seen


async def test_who_has_gone_is_not_told_any_more_not_even_in_this_round() -> None:
    clock, first, second = Watch(), Socket(), Socket()

    def leave_both() -> None:
        clock.remove(first)
        clock.remove(second)

    left = Socket()
    left.ticked = leave_both  # type: ignore[method-assign]
    for socket in (first, second, left):
        clock.add(socket)
    await until(lambda: first not in clock._watched)
    before = first.told + second.told
    await asyncio.sleep(0.02)
    assert first.told + second.told == before
    assert before <= 2


async def test_its_timer_rests_while_nobody_is_there() -> None:
    clock, socket = Watch(), Socket()
    clock.add(socket)
    await until(lambda: socket.told)
    clock.remove(socket)
    clock.remove(socket)
    await until(lambda: clock._timer is None)
    clock.add(socket)
    await until(lambda: socket.told >= 2)


async def test_one_that_fails_keeps_the_time_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError

    clock, broken, socket = Watch(), Socket(), Socket()
    broken.ticked = fail  # type: ignore[method-assign]
    for one in (socket, broken):
        clock.add(one)
    await until(lambda: socket.told >= 3)
    assert "could not be told the time" in caplog.text
