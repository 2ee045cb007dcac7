"""Newcomers wait here to be let in: a few in each turn of the loop, in the order they came.

To let one in takes most of a millisecond. After a restart thousands ask together, and one right
after the other they would hold up everybody for a second and more; who is inside outranks them.
Whoever waits costs little. When it goes in depends on no peer: nobody can block the way by being
slow. They are as many as the door lets be open, for which they are in.
"""

import asyncio
from asyncio import BaseTransport
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from gateway.sockets.door import Door

EACH_TURN = 4
"""Newcomers let in before others have their turn: a few milliseconds' work. One at a time, a crowd
would take a third longer: what a turn does for several together costs each of them less."""
_KEPT_BYTES = 65_536
"""Kept of one who waits before no more is read. A client sends its request, and is silent then."""

Make = Callable[[], asyncio.Protocol]


class Porch:
    """Who waits before the door of one process."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.waiting: OrderedDict[_Waiting, None] = OrderedDict()
        self._came_in = 0
        """In this turn of the loop."""

    def newcomer(self, make: Make) -> asyncio.Protocol:
        """What meets an upgrade: what ``make`` makes, or what waits until that can be made."""
        if self._came_in == EACH_TURN:
            waiting = _Waiting(self, make)
            self.waiting[waiting] = None
            return waiting
        if not self._came_in:
            asyncio.get_running_loop().call_soon(self._turn)
        self._came_in += 1
        return make()

    def _turn(self) -> None:
        self._came_in = min(EACH_TURN, len(self.waiting))
        if self._came_in:
            # First, for should one of these fail, the others' turns must come all the same.
            asyncio.get_running_loop().call_soon(self._turn)
        for _ in range(self._came_in):
            next_one, _nothing = self.waiting.popitem(last=False)
            next_one.go_in()


class _Waiting(asyncio.Protocol):
    """In place of a socket: one who waits, with what it has said so far."""

    _wire: asyncio.Transport

    def __init__(self, porch: Porch, make: Make) -> None:
        self._porch = porch
        self._make = make
        self._said = b""

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody asks for an upgrade."""
        self._wire = cast("asyncio.Transport", transport)
        self._porch.door.enter()

    def data_received(self, data: bytes) -> None:
        """Here is its request; what comes after that is early."""
        self._said += data
        if len(self._said) > _KEPT_BYTES:
            self._wire.pause_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """It would not wait."""
        self._porch.waiting.pop(self, None)
        self._porch.door.exit()

    def go_in(self) -> None:
        """Make room for what is made for it, as the server would have done at once."""
        if self._wire.is_closing():
            return
        if len(self._said) > _KEPT_BYTES:
            self._wire.resume_reading()
        self._porch.door.exit()
        protocol = self._make()
        protocol.connection_made(self._wire)
        self._wire.set_protocol(protocol)
        protocol.data_received(self._said)
