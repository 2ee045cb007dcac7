"""The shop's orders in the order they were committed: what the POS gets, by push or by pull.

An entry is appended by the very script that commits the hold, so no order is lost; that is before
its money is captured. ``Gate`` says which entries the POS may have yet.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

from gateway.clock import Clock
from gateway.errors import Invalid
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply, pairs
from gateway.orders import entry as events
from gateway.orders.entry import OrderEvent
from gateway.scripts import load

log = logging.getLogger(__name__)

START = "0-0"
"""The cursor before the first order."""

MAX_PAGE = 200
"""Most orders of one page."""

MAX_WAIT_S = 30
"""Longest that a request for a page may wait for an order."""

HISTORY_MS = 30 * 86_400_000
"""How long entries are kept at least. A POS that pulls has no group that says how far it has read;
it must be able to come back after a long breakdown, and 30 days is also well beyond the 7 days
after which no authorized money can be waiting any more."""

_POLL_S = 0.2
"""How often a waiting request looks: at most so much later than the sale a puller hears of it."""

_PAGES_A_REQUEST = 10
"""A bound on the work of one request when the stream is full of orders the POS must not get."""

_CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")

Sleep = Callable[[float], Awaitable[None]]


class Gate(Enum):
    """May the POS have an order?"""

    OPEN = "its money is captured"
    SHUT = "its money is not captured yet: look again soon"
    NEVER = "its money could not be captured: the POS never hears of it"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of an order in the stream; ``event`` is what is delivered, byte for byte."""

    id: str
    order: str
    event_id: str
    event: bytes


class Page(Struct, frozen=True):
    """Orders, and the cursor that continues after them."""

    orders: tuple[OrderEvent, ...]
    next: str


def gate(phase: bytes | None) -> Gate:
    """Decide by the phase of the order's payment; ``None`` when its record's retention is over."""
    if phase == b"committed":
        return Gate.SHUT
    return Gate.NEVER if phase == b"failed" else Gate.OPEN


def read_entry(entry_id: bytes, reply: Reply) -> Entry | None:
    """Read one entry as XRANGE and its kin answer it; ``None`` when it is no event of an order: it
    was deleted, or written by hand.
    """
    try:
        fields = pairs(reply or ())
        return Entry(
            id=entry_id.decode(),
            order=fields["order"].decode(),
            event_id=fields["event_id"].decode(),
            event=fields["event"],
        )
    except (KeyError, UnicodeDecodeError):
        return None


def read_entries(rows: Reply) -> list[Entry]:
    """Read what XRANGE answers. What is no event of an order keeps up none that is; of that the
    index tells, which is read every minute.
    """
    return [entry for row in rows if (entry := read_entry(*row))]


@dataclass(frozen=True, slots=True)
class OrderStream:
    """One shop's orders, read without blocking."""

    lane: Lane
    shop: str

    @property
    def keys(self) -> ShopKeys:
        """The shop's keys."""
        return ShopKeys(self.shop)

    async def gate(self, order: str) -> Gate:
        """Whether the POS may have an order."""
        return gate(await self.lane.command("HGET", self.keys.order(order), "phase"))

    async def page(self, after: str, limit: int) -> Page:
        """Read at most ``limit`` orders after a cursor.

        It stops before the first order whose money is not captured yet, so that whoever reads on
        with ``next`` misses none. An event that cannot be read keeps up no other: it is passed
        over, stays where it is, and reconciling names it.

        Raises:
            Invalid: the cursor is none of ours, or the limit is out of bounds.
        """
        cursor = _cursor(after)
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"limit must be between 1 and {MAX_PAGE}")
        orders: list[OrderEvent] = []
        for _ in range(_PAGES_A_REQUEST):
            wanted = limit - len(orders)
            rows = await self._after(cursor, wanted)
            found = read_entries(rows)
            for entry, verdict in zip(found, await self._gates(found), strict=True):
                if verdict is Gate.SHUT:
                    return Page(tuple(orders), cursor)
                if verdict is Gate.OPEN and (event := self._legible(entry)):
                    orders.append(event)
                cursor = entry.id
            if rows:
                cursor = rows[-1][0].decode()  # The last ones may be no events of orders.
            if len(rows) < wanted or len(orders) == limit:
                break
        return Page(tuple(orders), cursor)

    async def page_within(
        self, after: str, limit: int, wait_s: float, clock: Clock, sleep: Sleep = asyncio.sleep
    ) -> Page:
        """Read a page; when there is none yet, wait up to ``wait_s`` seconds for one.

        Raises:
            Invalid: the cursor, the limit or the wait is out of bounds.
        """
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise Invalid(f"wait_s must be between 0 and {MAX_WAIT_S}")
        deadline_s = clock.monotonic_s() + wait_s
        while True:
            page = await self.page(after, limit)
            left_s = deadline_s - clock.monotonic_s()
            if page.orders or left_s <= 0:
                return page
            after = page.next
            await sleep(min(_POLL_S, left_s))

    async def acknowledge(self, group: str, entry_id: str) -> None:
        """Say that a group is done with an entry."""
        await self.lane.command("XACK", self.keys.orders, group, entry_id)

    async def trim(self, keep_ms: int = HISTORY_MS) -> int:
        """Drop entries older than ``keep_ms`` that every group is done with; return how many."""
        return int(await self.lane.call(load("orders_trim"), [self.keys.orders], [keep_ms]))

    def _legible(self, entry: Entry) -> OrderEvent | None:
        event = events.legible(entry.event)
        if event is None:
            # What is wrong with it is not said, for that may quote its buyer.
            log.error(
                "orders: shop %s: entry %s of order %s cannot be read and is passed over",
                *(self.shop, entry.id, entry.order),
            )
        return event

    async def _after(self, cursor: str, count: int) -> Reply:
        return await self.lane.command(
            "XRANGE", self.keys.orders, f"({cursor}", "+", "COUNT", count
        )

    async def _gates(self, found: list[Entry]) -> list[Gate]:
        phases = [self.lane.command("HGET", self.keys.order(one.order), "phase") for one in found]
        return [gate(phase) for phase in await asyncio.gather(*phases)]


def _cursor(after: str) -> str:
    if after and not _CURSOR.fullmatch(after):
        raise Invalid("after must be a `next` of an earlier page")
    return after or START
