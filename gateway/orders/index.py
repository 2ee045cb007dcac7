"""Which events a shop's stream has: their ids, by order; the events themselves are not kept.

It is read on from where it was read to, so that whoever compares can catch up before he judges.
Memory grows with the orders of the window, by some hundred bytes for each.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.entry import legible
from gateway.orders.stream import Entry, read_entries

log = logging.getLogger(__name__)

_PAGE = 200
"""Entries read at once: an event has about a kilobyte, and others wait for the lane."""


@dataclass(frozen=True, slots=True)
class Copy:
    """An event that is in the stream for a second time."""

    order: str
    event_id: str
    first: str
    again: str
    """Ids of the two entries."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event that makes no sense here; ``entry`` is its place in the stream."""

    order: str
    entry: str


@dataclass(slots=True)
class EventIndex:
    """The events of one shop's stream since some moment, ms by Redis' clock."""

    lane: Lane
    shop: str
    since_ms: int
    entries: int = 0
    copies: list[Copy] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    """They count as events all the same: their order has been handed on, though nobody can tell."""
    _orders: dict[str, dict[str, str]] = field(default_factory=dict)
    """order → event id → id of its first entry"""
    _last: str = ""
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def catch_up(self) -> None:
        """Read what has come since the last time; at first, everything since ``since_ms``.

        Raises:
            Unavailable: Redis does not answer.
        """
        key = ShopKeys(self.shop).orders
        async with self._reading:
            while True:
                start = f"({self._last}" if self._last else str(max(0, self.since_ms))
                rows = await self.lane.command("XRANGE", key, start, "+", "COUNT", _PAGE)
                entries = read_entries(rows)
                for entry in entries:
                    self._add(entry)
                if len(entries) < len(rows):
                    log.error("orders: %s has entries that are no events of orders", key)
                if rows:
                    self._last = rows[-1][0].decode()
                if len(rows) < _PAGE:
                    return

    def _add(self, entry: Entry) -> None:
        seen = self._orders.setdefault(entry.order, {})
        first = seen.setdefault(entry.event_id, entry.id)
        if first != entry.id:
            self.copies.append(Copy(entry.order, entry.event_id, first, entry.id))
        if legible(entry.event) is None:
            self.unreadable.append(Unreadable(entry.order, entry.id))
        self.entries += 1

    def orders(self) -> list[str]:
        """The orders that have an event here."""
        return list(self._orders)

    def events(self, order: str) -> frozenset[str]:
        """The ids of an order's events."""
        return frozenset(self._orders.get(order, ()))

    def first_ms(self, order: str) -> int:
        """When an order's first event was appended."""
        return min(int(entry.partition("-")[0]) for entry in self._orders[order].values())
