"""Sends viewers away whose stock is void, one after the other, so that they do not all come back at
once: thousands that reconnect in the same instant would be the next trouble.

Who holds something goes first, for it needs the truth most. Meanwhile the fan-out tells none of
them of the new stock: its epoch would make them leave by themselves, all at once.
"""

import asyncio
import math
from dataclasses import dataclass, field

from gateway.sockets.roster import Roster, Seat

_PER_SEAT_S = 0.001
"""About what it costs to let one in again: they come back as fast as they can be let in."""
_LONGEST_S = 5.0
"""Nobody looks at a stock that is not true for longer."""
_SLICE_S = 0.02
"""How often some are sent away: often enough to be spread, and few at a time."""


@dataclass(slots=True)
class Parting:
    """Sends everybody of a roster away, whenever it is told to."""

    roster: Roster
    _leaving: frozenset[Seat] = frozenset()
    """Who is to go."""
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """All that are here now are to go; again begins anew."""
        self._leaving = frozenset(self.roster.everyone())
        self._begun.set()

    async def run(self) -> None:
        """Send away until cancelled."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            await self._send_away()

    async def _send_away(self) -> None:
        seats = sorted(self._leaving, key=lambda seat: not seat.holder.active_holds())
        window_s = min(_LONGEST_S, len(seats) * _PER_SEAT_S)
        size = max(1, math.ceil(len(seats) * _SLICE_S / max(_SLICE_S, window_s)))
        for at in range(0, len(seats), size):
            if at:
                await asyncio.sleep(_SLICE_S)
            if self._begun.is_set():
                return
            for seat in seats[at : at + size]:
                if seat in self.roster.of(seat.shopper):
                    seat.holder.epoch_changed()
        self._leaving = frozenset()
