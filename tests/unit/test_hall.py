"""Who may be connected without being a socket, and who must go."""

import asyncio

import pytest

from gateway.api import hall as halls
from gateway.api.hall import Hall


class Caller:
    def __init__(self, hall: Hall) -> None:
        self.was_cut = False
        self.looks = 0
        hall.enter(self)

    def looked_at(self, _: float) -> None:
        self.looks += 1

    def cut(self) -> None:
        raise AssertionError("it is told to give way")

    def give_way(self) -> None:
        self.was_cut = True


def hall(most: int = 2) -> Hall:
    return Hall(most, head_s=10, body_s=30, slow_s=10)


async def test_there_is_room_until_it_is_full() -> None:
    it = hall()
    for _ in range(2):
        assert it.has_room(0)
        Caller(it)
    assert (it.has_room(0), it.refused, len(it)) == (False, 1, 2)


async def test_when_it_is_full_the_longest_silent_goes_for_a_newcomer() -> None:
    it = hall(3)
    first, second, busy = Caller(it), Caller(it), Caller(it)
    for at_s, one in ((1, busy), (2, first), (3, second)):
        it.awaits(one, at_s)
    it.serves(busy)
    it.awaits(first, 4)  # It has been answered, and is silent again.
    assert it.has_room(10)
    assert (second.was_cut, first.was_cut, busy.was_cut) == (True, False, False)
    Caller(it)
    assert it.has_room(10)
    assert first.was_cut
    Caller(it)
    assert (it.has_room(10), busy.was_cut, it.cut) == (False, False, 2)


async def test_nobody_goes_for_another_who_has_not_had_the_time_to_ask() -> None:
    it = hall(1)
    it.awaits(Caller(it), 5)
    assert not it.has_room(5.9)
    assert it.has_room(6)


async def test_nobody_is_waited_for_who_has_left() -> None:
    it = hall(1)
    caller = Caller(it)
    it.leave(caller)
    it.awaits(caller, 0)
    Caller(it)
    assert not it.has_room(100)


async def test_whoever_leaves_makes_room_and_may_leave_again() -> None:
    it = hall(1)
    caller = Caller(it)
    it.awaits(caller, 0)
    for _ in range(2):
        it.leave(caller)
    assert (it.has_room(100), caller.was_cut, it.cut) == (True, False, 0)


async def test_all_are_looked_at_again_and_again_while_there_are_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halls, "LOOKS_EVERY_S", 0.001)
    it = hall(10)
    callers = [Caller(it) for _ in range(3)]
    async with asyncio.timeout(30):
        while any(one.looks < 3 for one in callers):
            await asyncio.sleep(0)
        for one in callers:
            it.leave(one)
        while it._timer:
            await asyncio.sleep(0)
        late = Caller(it)
        while not late.looks:
            await asyncio.sleep(0)
