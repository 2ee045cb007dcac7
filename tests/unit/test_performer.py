"""A command has one answer, whatever becomes of it, and is counted by that."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from gateway.clock import SystemClock
from gateway.errors import Frozen, HoldfastError, NotFound, Paused, Unavailable
from gateway.messages import AnyCommand, Frame, Ok, Release, Reserve
from gateway.model import LineRequest
from gateway.sockets.outbox import Outbox
from gateway.sockets.performer import Performer
from gateway.sockets.tally import Tally
from gateway.stock.reservations import Words

RESERVE = Reserve(id=7, key="k", lines=(LineRequest("tee", 1),))
RELEASE = Release(id=8, hold="h_1")

Answer = Frame | Exception


class Session:
    """Answers what it is told to."""

    def __init__(self, *answers: Answer) -> None:
        self.rooms = SimpleNamespace(clock=SystemClock())
        self.answers = list(answers)
        self.decided = asyncio.get_running_loop().create_future()

    def ids(self, _: AnyCommand) -> dict[str, str]:
        return {"session": "s"}

    def reserve(self, _: Reserve) -> asyncio.Future[Words]:
        return self.decided

    async def perform(self, _: AnyCommand) -> Frame:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Machine:
    """Counts the answers."""

    told = 0

    def answered(self) -> None:
        self.told += 1


class Line:
    """A performer, and what it says."""

    def __init__(self, *answers: Answer) -> None:
        self.session, self.machine, self.tally = Session(*answers), Machine(), Tally()
        self.outbox = Outbox(cast("Any", None), 9, lambda: None, self.tally)
        self.tasks: list[asyncio.Task[Frame]] = []
        session, machine = cast("Any", self.session), cast("Any", self.machine)
        self.performer = Performer(session, machine, self.outbox, self.tally, self.start)

    def start(self, work: Any) -> asyncio.Task[Frame]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def said(self, command: AnyCommand) -> list[dict[str, Any]]:
        """What is said once the command has been performed."""
        self.performer.perform(command)
        await asyncio.sleep(0)
        return await self.later()

    async def later(self) -> list[dict[str, Any]]:
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0)
        return [msgspec.json.decode(frame.text) for frame in self.outbox._frames]


async def test_an_answer_carries_the_number_of_its_command_and_is_counted() -> None:
    line = Line(Ok())
    assert await line.said(RELEASE) == [{"type": "ok", "id": 8}]
    assert (line.tally.commands, line.machine.told) == ({("release", "ok"): 1}, 1)


@pytest.mark.parametrize(
    ("error", "code", "counted"),
    [
        (NotFound("There is no such hold."), "not_found", "not_found"),
        (Unavailable("Try again."), "unavailable", "unavailable"),
        (Frozen(), "unavailable", "frozen"),
        (Paused(), "unavailable", "paused"),
    ],
)
async def test_an_error_is_an_answer_too_and_counted_by_what_it_means_to_us(
    error: HoldfastError, code: str, counted: str
) -> None:
    line = Line(error)
    (said,) = await line.said(RELEASE)
    assert (said["type"], said["id"], said["code"]) == ("error", 8, code)
    assert (line.tally.commands, line.machine.told) == ({("release", counted): 1}, 1)


async def test_a_reservation_that_meets_a_frozen_shop_is_asked_again_by_the_session() -> None:
    line = Line(Ok())
    line.session.decided.set_exception(Frozen())
    line.performer.perform(RESERVE)
    await asyncio.sleep(0)
    assert (len(line.tasks), line.machine.told) == (1, 0)
    assert await line.later() == [{"type": "ok", "id": 7}]
    assert (line.tally.commands, line.machine.told) == ({("reserve", "ok"): 1}, 1)


async def test_what_breaks_is_not_the_clients_fault(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    line = Line(ValueError("the inner workings"))
    (said,) = await line.said(RELEASE)
    assert (said["code"], "inner" in said["message"]) == ("unavailable", False)
    assert "the inner workings" in caplog.text
    assert line.machine.told == 1


async def test_nothing_is_said_to_a_socket_that_is_gone() -> None:
    line = Line()
    line.performer.perform(RESERVE)
    line.session.decided.cancel()
    assert await line.later() == []
    assert line.machine.told == 0
