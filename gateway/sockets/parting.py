"""Sends viewers away whose stock is void, one after the other, so that they do not all come back at
once: thousands that reconnect in the same instant would be the next trouble.

Who holds something goes first, for it needs the truth most. Meanwhile none of them is told of the
new stock (see ``Roster.void``): its epoch would make them leave by themselves.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field

from gateway.sockets.roster import Roster

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
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """All that are here now are to go; again begins anew."""
        self.roster.void()
        self._begun.set()

    async def run(self) -> None:
        """Send away until cancelled."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            await self._send_away()

    async def _send_away(self) -> None:
        leaving = deque(
            sorted(self.roster.voided(), key=lambda seat: not seat.session.active_holds())
        )
        window_s = min(_LONGEST_S, len(leaving) * _PER_SEAT_S)
        size = math.ceil(len(leaving) / max(1.0, window_s / _SLICE_S))
        while leaving and not self._begun.is_set():
            for _ in range(min(size, len(leaving))):
                leaving.popleft().session.epoch_changed()
            if leaving:
                await asyncio.sleep(_SLICE_S)
