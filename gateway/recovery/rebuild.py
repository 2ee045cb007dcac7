"""Rebuilds a frozen shop: what was sold elsewhere's books and is missing here is written again."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from gateway.checkout.record import read_record
from gateway.checkout.sale import order_of
from gateway.clock import rfc3339
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders import entry
from gateway.recovery.sold import Books, Sold
from gateway.scripts import load
from gateway.settings import Settings
from gateway.shows.shows import shops
from gateway.stock.standing import Standing

log = logging.getLogger(__name__)

_MARGIN_MS = 300_000
"""How far clocks may be apart: Stripe tells when an intent was made by its own."""
HISTORY_MS = 30 * 86_400_000
"""How far back sales are looked for at most, unless by hand: when the shop has lost even its clock,
or has been idle for longer, for the whole account is read so far.
"""
_SLICE = 200
"""Records read, or sales written, at once: by one round trip of the lane."""
_SOLD = {b"committed", b"captured", b"failed"}
_UNKNOWN_THERE = ("contact", "ship_to", "fulfillment")
"""What Stripe is not told of an order. A record that has lost only its end may still have it."""


class Rebuilt(Struct, frozen=True):
    """What a rebuild found, or would do."""

    shop: str
    since_ms: int
    """Sales older than this were not looked for at Stripe."""
    known: int
    """Sales that the claims table and Stripe know of."""
    missing: tuple[str, ...]
    """Orders that were missing here, and are written again."""
    epoch: int | None = None
    """The new epoch, once the shop is thawed."""


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Writes again what is missing, for any shop of this Redis."""

    lane: Lane
    settings: Settings
    books: Books

    def since(self, standing: Standing, now_ms: int) -> int:
        """How far back a sale may be missing, by what the shop's server still knows, ms.

        A payment may take its whole time from the intent to the sale. A clock that is ahead says
        nothing: it was wrong, and nobody knows for how long.
        """
        oldest_ms = now_ms - HISTORY_MS
        if standing.clock > now_ms + _MARGIN_MS:
            return oldest_ms
        takes_s = self.settings.payment_budget_s + self.settings.stripe_queue_s
        return max(oldest_ms, standing.clock - takes_s * 1000 - _MARGIN_MS)

    async def missing(
        self, shop: str, since_ms: int, *, patient: bool = False
    ) -> tuple[int, list[Sold]]:
        """How many sales are known elsewhere, and those that this server does not have.

        Raises:
            Unavailable, Overloaded: Redis, Stripe or the claims table does not answer.
        """
        # An order is forgotten on purpose when its time is over; a sale of then is not missing.
        kept_ms = (self.settings.order_retention_days - 1) * 86_400_000
        oldest_ms = self.books.clock.now_ms() - kept_ms
        sold = await self.books.sold(shop, max(since_ms, oldest_ms), oldest_ms, patient=patient)
        missing = []
        for at in range(0, len(sold), _SLICE):
            some = sold[at : at + _SLICE]
            known = await self._known(shop, some)
            missing += [one for one, there in zip(some, known, strict=True) if not there]
        return len(sold), missing

    async def _known(self, shop: str, sold: Sequence[Sold]) -> list[bool]:
        """Whether the server has each sale, or knows that its money goes back."""
        keys, fields = ShopKeys(shop), ("phase", "given_back")
        reading = (self.lane.command("HMGET", keys.order(one.order), *fields) for one in sold)
        return [
            phase in _SOLD or bool(given_back and given_back.decode() == one.fields.get("intent"))
            for one, (phase, given_back) in zip(sold, await asyncio.gather(*reading), strict=True)
        ]

    async def restore(self, shop: str, sold: Sold) -> bool:
        """Write one sale again; ``False`` when it is there, or the shop is not frozen."""
        keys, settings = ShopKeys(shop), self.settings
        reply = await self.lane.call(
            load("sale_restore"),
            (
                keys.meta,
                keys.stock,
                keys.deadlines,
                keys.ledger,
                keys.orders,
                keys.unsettled,
                keys.hold(sold.hold),
                keys.shopper(sold.shopper),
                keys.order(sold.order),
            ),
            (
                sold.order,
                sold.hold,
                sold.shopper,
                msgspec.json.encode(sold.units),
                msgspec.json.encode(await self._fields(shop, sold)),
                sold.phase,
                settings.order_retention_days * 86_400_000,
                settings.shopper_retention_days * 86_400_000,
            ),
        )
        return bool(reply[0] == b"RESTORED")

    async def _fields(self, shop: str, sold: Sold) -> Mapping[str, str]:
        """The record of a sale, with what the POS is told of it.

        Of one that only Stripe remembers that is what else is known here, often no contact. The
        event's id is that of before: who has the order drops it.
        """
        if sold.phase != "captured":
            return sold.fields
        kept = await self.lane.command("HMGET", ShopKeys(shop).order(sold.order), *_UNKNOWN_THERE)
        known = zip(_UNKNOWN_THERE, kept, strict=True)
        fields = {**sold.fields, **{name: text.decode() for name, text in known if text}}
        try:
            record = read_record(sold.order, {**fields, "phase": sold.phase})
        except msgspec.DecodeError:
            log.exception("recovery: shop %s: order %s: the POS is told nothing", shop, sold.order)
            return sold.fields
        order = order_of(record, sold.fields["intent"], record.attempt_at)
        now = rfc3339(self.books.clock.now_ms())
        event = entry.event(shop, msgspec.structs.replace(order, recorded_at=now))
        return {**fields, "event_id": event.id, "event": entry.encode(event).decode()}

    async def would(self, shop: str, since_ms: int) -> Rebuilt:
        """What ``rebuild`` would do now."""
        known, missing = await self.missing(shop, since_ms, patient=True)
        return Rebuilt(shop, since_ms, known, tuple(one.order for one in missing))

    async def shops(self, since_ms: int) -> list[str]:
        """Every shop that this Redis, the claims table or Stripe knows."""
        here = set(await shops(self.lane))
        return sorted(here | await self.books.shops(since_ms))

    async def rebuild(self, shop: str, since_ms: int, *, patient: bool = False) -> Rebuilt:
        """Write everything again that is missing; the shop must be frozen. Again is fine.

        Who is ``patient`` goes by Stripe as well, however long it takes: see ``Books.sold``.
        """
        known, missing = await self.missing(shop, since_ms, patient=patient)
        for at in range(0, len(missing), _SLICE):
            some = missing[at : at + _SLICE]
            for one in some:
                log.warning("recovery: shop %s: order %s was lost; written again", shop, one.order)
            await asyncio.gather(*(self.restore(shop, one) for one in some))
        return Rebuilt(shop, since_ms, known, tuple(one.order for one in missing))
