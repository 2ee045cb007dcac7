"""Who waits before the door, and when each goes in; with wires in memory."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.sockets import porch
from gateway.sockets.door import Door
from gateway.sockets.porch import Porch
from tests.wire import Wire


@dataclass
class Street:
    """A porch, and those who come to it, by number."""

    porch: Porch = field(default_factory=lambda: Porch(Door(1_000)))
    wires: list[Wire] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)
    said: dict[int, bytes] = field(default_factory=dict)
    broken: int = -1
    """The one that cannot be let in for a fault of ours."""

    @property
    def door(self) -> Door:
        return self.porch.door

    def comes(self, count: int = 1) -> None:
        """What the server does with an upgrade."""
        for number in range(len(self.wires), len(self.wires) + count):
            wire = Wire()
            self.wires.append(wire)
            protocol = self.porch.newcomer(lambda number=number: Guest(self, number))  # type: ignore[misc]
            protocol.connection_made(wire)
            protocol.data_received(b"request")
            wire.set_protocol(protocol)

    def goes(self, number: int) -> None:
        self.wires[number].closing = True
        self.wires[number].protocol.connection_lost(None)

    async def all_have_their_turn(self) -> None:
        async with asyncio.timeout(30):
            while self.porch.waiting:
                await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porch, "EACH_TURN", 2)


class Guest(asyncio.Protocol):
    """One who was let in."""

    def __init__(self, street: Street, number: int) -> None:
        self.street, self.number = street, number

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        self.street.door.enter()
        self.street.inside.append(self.number)

    def data_received(self, data: bytes) -> None:
        if self.number == self.street.broken:
            raise ValueError
        self.street.said[self.number] = data

    def connection_lost(self, _: Exception | None) -> None:
        self.street.door.exit()


async def test_a_few_go_in_each_turn_in_the_order_they_came_and_nobody_passes() -> None:
    street = Street()
    street.comes(7)
    assert street.inside == [0, 1]
    assert street.door.open == 7
    after_each_turn = []
    for _ in range(4):
        await asyncio.sleep(0)
        street.comes()
        after_each_turn.append(len(street.inside))
    assert after_each_turn == [4, 6, 8, 10]
    await street.all_have_their_turn()
    assert street.inside == list(range(11))
    assert street.said == dict.fromkeys(range(11), b"request")
    assert street.door.open == 11


async def test_whoever_comes_alone_need_not_wait() -> None:
    street = Street()
    for number in range(6):
        street.comes()
        assert street.inside[-1] == number
        await asyncio.sleep(0)


async def test_one_that_goes_while_it_waits_is_forgotten_and_frees_its_place_once() -> None:
    street = Street()
    street.comes(5)
    street.goes(3)
    assert (street.door.open, len(street.porch.waiting)) == (4, 2)
    street.wires[4].closing = True  # It has hung up, which is told in a later turn.
    await street.all_have_their_turn()
    street.goes(4)
    assert street.inside == [0, 1, 2]
    assert street.door.open == 3
    for number in street.inside:
        street.goes(number)
    assert street.door.open == 0


async def test_one_that_cannot_be_let_in_does_not_hold_up_the_others() -> None:
    street, loop = Street(broken=2), asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    street.comes(6)
    await street.all_have_their_turn()
    assert street.said.keys() == {0, 1, 3, 4, 5}
    street.goes(2)
    assert street.door.open == 5


async def test_what_it_says_early_is_kept_for_later_and_bounded() -> None:
    street = Street()
    street.comes(4)
    patient, early = street.wires[2:]
    early.protocol.data_received(bytes(porch._KEPT_BYTES))
    assert (patient.paused, early.paused) == (False, True)
    await street.all_have_their_turn()
    assert not early.paused
    assert street.said[3] == b"request" + bytes(porch._KEPT_BYTES)
