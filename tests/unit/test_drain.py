"""Who leaves when, while a process drains."""

import asyncio
import json
from collections.abc import Callable, Iterable

from gateway.sessions.machine import Busy
from gateway.sockets.direct import Encoded
from gateway.sockets.door import Door
from gateway.sockets.drain import Drain, Line

PATIENCE_S = 10
HOURS = 7 * 86_400.0


class Viewer:
    """A guest who notes what happens."""

    def __init__(self, door: Door, busy: Busy = Busy.IDLE) -> None:
        self.door = door
        self.busy = busy
        self.heard: list[int] = []
        self.left_s: float | None = None
        door.enter()
        door.guests.add(self)

    def warn(self, frame: Encoded) -> None:
        self.heard.append(json.loads(frame.text)["within_ms"])

    def leave(self) -> None:
        assert self.left_s is None, "told twice"
        self.goes()

    def goes(self) -> None:
        self.left_s = asyncio.get_running_loop().time()
        self.door.guests.discard(self)
        self.door.exit()


async def over(drain: Drain) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await drain.over()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.005)


def leaving(viewers: Iterable[Viewer]) -> list[float]:
    return [viewer.left_s for viewer in viewers if viewer.left_s is not None]


async def test_the_idle_go_first_and_whoever_pays_may_stay() -> None:
    door = Door(10)
    pays, holds, idle = (Viewer(door, busy) for busy in reversed(Busy))
    line = Line(door.guests)
    assert [line.next(door.guests) for _ in range(3)] == [idle, holds, None]
    pays.busy = Busy.IDLE
    assert line.next(door.guests) is pays
    assert not line


async def test_what_counts_is_what_a_viewer_does_when_its_turn_comes() -> None:
    door = Door(10)
    now_pays, now_holds, idle = (Viewer(door) for _ in range(3))
    line = Line([now_pays, now_holds, idle])
    now_pays.busy, now_holds.busy = Busy.PAYING, Busy.HOLDING
    assert [line.next(door.guests) for _ in range(3)] == [idle, now_holds, None]


async def test_whoever_has_left_by_himself_is_passed_over() -> None:
    door = Door(10)
    gone, here = Viewer(door), Viewer(door)
    line = Line([gone, here])
    gone.goes()
    assert line.next(door.guests) is here
    assert line.next(door.guests) is None


async def test_with_nobody_there_it_is_over_at_once() -> None:
    drain = Drain(Door(10), HOURS)
    drain.begin()
    await over(drain)
    assert drain.noticed.is_set()


async def test_it_is_over_as_soon_as_the_last_one_has_left() -> None:
    door = Door(10)
    viewer, drain = Viewer(door), Drain(door, HOURS)
    drain.begin()
    await asyncio.sleep(0)
    viewer.goes()
    await over(drain)


async def test_all_are_told_and_leave_evenly_over_most_of_the_window() -> None:
    door, window_s = Door(100), 1.0
    viewers = [Viewer(door) for _ in range(40)]
    drain, began_s = Drain(door, window_s), asyncio.get_running_loop().time()
    assert drain.begin() == drain.begin()
    assert door.draining
    await over(drain)
    assert all(0 < told <= 900 for viewer in viewers for told in viewer.heard)
    assert [len(viewer.heard) for viewer in viewers] == [1] * 40
    left = sorted(leaving(viewers))
    assert left[0] - began_s >= 0.1
    assert left[-1] - left[0] >= 0.8 * window_s
    middle = [at for at in left if left[0] + 0.25 <= at <= left[0] + 0.6]
    assert 5 <= len(middle) <= 30


async def test_whoever_pays_leaves_after_the_others_and_with_the_answer() -> None:
    door = Door(100)
    viewers = [Viewer(door) for _ in range(5)]
    pays, never = Viewer(door, Busy.PAYING), Viewer(door, Busy.PAYING)
    drain = Drain(door, 0.6)
    drain.begin()
    await until(lambda: door.open == 2)
    assert pays.left_s is None
    pays.busy = Busy.IDLE
    await until(lambda: pays.left_s is not None)
    assert never.left_s is None
    await over(drain)
    assert len(leaving(viewers)) == 5
    assert leaving([never]) > leaving([pays]) > [max(leaving(viewers))]


async def test_whoever_comes_out_of_the_handshake_late_is_not_forgotten() -> None:
    door = Door(100)
    first, drain = Viewer(door, Busy.PAYING), Drain(door, 0.4)
    drain.begin()
    await until(lambda: bool(first.heard))
    late = Viewer(door)
    await over(drain)
    assert leaving([first, late])


async def test_told_a_second_time_everybody_leaves_at_once() -> None:
    door = Door(100)
    viewers = [Viewer(door, busy) for busy in Busy for _ in range(100)]
    drain = Drain(door, HOURS)
    drain.begin()
    assert drain.hurry()
    assert not drain.hurry()
    await over(drain)
    assert len(leaving(viewers)) == 300
