"""How many watch each show of a shop, over all processes, and who is told.

Every process writes its own number every so often, and adds up those of the others; one that has
died writes none, and is left out once it has been silent for long enough. The number is wrong for
at most two pauses, and held back for at most one telling: so it is right within two seconds.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.admission import PROCESS_SILENT_MS
from gateway.clock import Clock
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.scripts import load
from gateway.sockets.roster import Roster

COUNT_EVERY_S = 0.4
"""Once until our number is written, once until others read it, and a telling: less than 2 s, with
all jitter."""
_TELL_EVERY_S = 1.0
"""Nobody needs to see a crowd grow one by one."""

Tell = Callable[[str, int], None]
"""Tells all viewers of a show here how many watch it."""


@dataclass(slots=True)
class _Count:
    """The viewers of one show, as they were counted and told."""

    total: int
    told: int = -1
    told_at_s: float = float("-inf")


@dataclass(slots=True)
class Viewers:
    """The counts of one shop's shows."""

    shop: str
    lane: Lane
    clock: Clock
    roster: Roster
    tell: Tell
    _counts: dict[str, _Count] = field(default_factory=dict)
    """Of the shows that have viewers here."""

    async def count(self, process: str) -> None:
        """Write our numbers, add up, and tell who has not heard it what has changed.

        Raises:
            Unavailable, Overloaded: Redis does not answer.
        """
        here = self.roster.counts()
        shows = tuple(here.keys() | self._counts.keys())
        totals = await asyncio.gather(*(self._add_up(process, one, here) for one in shows))
        for show, total in zip(shows, totals, strict=True):
            if show not in here:
                self._counts.pop(show, None)
                continue
            count = self._counts.setdefault(show, _Count(total))
            count.total = total
            self._tell(show, count)

    async def _add_up(self, process: str, show: str, here: dict[str, int]) -> int:
        return int(
            await self.lane.call(
                load("viewers_count"),
                (ShopKeys(self.shop).viewers(show),),
                (process, here.get(show, 0), PROCESS_SILENT_MS),
            )
        )

    def _tell(self, show: str, count: _Count) -> None:
        now_s = self.clock.monotonic_s()
        if count.told != count.total and now_s - count.told_at_s >= _TELL_EVERY_S:
            count.told, count.told_at_s = count.total, now_s
            self.tell(show, count.total)

    def known(self, show: str) -> int | None:
        """The number a newcomer can be told; its own coming is told to all, a little later."""
        count = self._counts.get(show)
        return count.total if count else None
