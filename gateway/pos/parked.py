"""Deliveries that were given up: kept with their event until somebody has them tried again.

Only the relay that has the shop's lease writes them; everybody may list them and ask for another
try, which the relay then makes, in order, before anything newer of the same order.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs
from gateway.model import Timestamp
from gateway.orders.stream import Entry
from gateway.scripts import load

log = logging.getLogger(__name__)

_BATCH = 100
"""Records asked for at once: a few hundred kilobytes."""


class Parked(Struct, frozen=True):
    """A delivery given up; ``event`` keeps the bytes of the event as they were."""

    order: str
    event_id: str
    reason: str
    attempts: int
    parked_at: Timestamp
    event: msgspec.Raw


_PARKED = msgspec.json.Decoder(Parked)


@dataclass(frozen=True, slots=True)
class Parking:
    """What is parked for one webhook of one shop."""

    lane: Lane
    shop: str
    webhook: str

    async def count(self) -> int:
        """How many deliveries are parked."""
        return int(await self.lane.command("HLEN", self._parked))

    async def listing(self) -> AsyncIterator[tuple[str, Parked]]:
        """Every parked delivery with its entry id, in no order; one may come twice. What cannot be
        read stays where it is, and keeps up no other.
        """
        cursor = b"0"
        while True:
            cursor, records = await self.lane.command(
                "HSCAN", self._parked, cursor, "COUNT", _BATCH
            )
            for entry_id, record in pairs(records).items():
                if parked := _read(entry_id, record):
                    yield entry_id, parked
            if int(cursor) == 0:
                return

    async def retry(self, orders: Iterable[str] | None = None) -> int:
        """Ask for another try of some orders, or of all; return how many orders that are.

        Those with nothing parked are passed over. A running relay begins within a second or so.
        """
        parked = {record.order async for _, record in self.listing()}
        wanted = sorted(parked if orders is None else parked.intersection(orders))
        for start in range(0, len(wanted), _BATCH):
            await self.lane.command("SADD", self._redrive, *wanted[start : start + _BATCH])
        return len(wanted)

    async def park(self, entry: Entry, reason: str, attempts: int, now: Timestamp) -> None:
        """Park a delivery and acknowledge its entry, in one step."""
        record = Parked(
            order=entry.order,
            event_id=entry.event_id,
            reason=reason,
            attempts=attempts,
            parked_at=now,
            event=msgspec.Raw(entry.event),
        )
        await self.lane.call(
            load("relay_park"),
            [ShopKeys(self.shop).orders, self._parked],
            [self.webhook, entry.id, msgspec.json.encode(record)],
        )

    async def entries(self, entry_ids: Sequence[str]) -> list[Entry]:
        """Read parked deliveries back in the order of the ids, without those no longer parked."""
        if not entry_ids:
            return []
        records = await self.lane.command("HMGET", self._parked, *entry_ids)
        return [
            _entry(entry_id, parked)
            for entry_id, record in zip(entry_ids, records, strict=True)
            if record is not None and (parked := _read(entry_id, record))
        ]

    async def settle(self, entry_id: str) -> None:
        """Forget a parked delivery: it has arrived."""
        await self.lane.command("HDEL", self._parked, entry_id)

    async def wanted(self) -> list[str]:
        """Orders somebody wants tried again."""
        members = await self.lane.command("SMEMBERS", self._redrive)
        return sorted(member.decode() for member in members)

    async def tried(self, order: str) -> None:
        """Say that an order was tried again, whatever came of it."""
        await self.lane.command("SREM", self._redrive, order)

    @property
    def _parked(self) -> str:
        return ShopKeys(self.shop).parked(self.webhook)

    @property
    def _redrive(self) -> str:
        return ShopKeys(self.shop).redrive(self.webhook)


def _read(entry_id: str, record: bytes) -> Parked | None:
    try:
        return _PARKED.decode(record)
    except msgspec.DecodeError as error:
        log.error("relay: the parked delivery %s cannot be read: %s", entry_id, error)
        return None


def _entry(entry_id: str, record: Parked) -> Entry:
    return Entry(entry_id, record.order, record.event_id, bytes(record.event))
