"""The last step of a sale: its money is taken, once nobody can forget the sale any more.

The replicas have it, if the settings ask for that. In strict mode each of its units is claimed in
a durable table, too: if Redis has forgotten a sale all the same and given a unit to another order,
that one learns it here. Its money is never captured, and it fails.
"""

import logging
from dataclasses import dataclass

import msgspec

from gateway.checkout.payment import Payments
from gateway.checkout.phases import Phase
from gateway.checkout.provider import Declined, NotPossible
from gateway.checkout.record import Record
from gateway.checkout.records import CommitEnded, CommitRefused, NotDurable, Records
from gateway.checkout.turns import CalledOff, OnWait
from gateway.claims.sale import Sale
from gateway.claims.table import Claims
from gateway.clock import Clock
from gateway.errors import Overloaded, Unavailable
from gateway.model import UNITS
from gateway.settings import Settings
from gateway.stock.standing import freeze
from gateway.traces import Kind, span

log = logging.getLogger(__name__)

_NOT_CLAIMED = frozenset({"client_secret"})
"""Fields of the record that are of no use once it is authorized, and are nobody else's business."""

_AFTER_COMMIT = frozenset({Phase.COMMITTED, Phase.CAPTURED, Phase.FAILED})
"""What a sale can be; an order that is anything else was never sold, as far as its server knows."""


@dataclass(frozen=True, slots=True)
class Sold:
    """An order that is committed."""

    shop: str
    record: Record
    event: tuple[str, bytes]
    """Id and bytes of what the commit wrote for the POS."""

    @property
    def intent(self) -> str:
        """The PaymentIntent whose money it is."""
        return self.record.intent or ""


@dataclass(frozen=True, slots=True)
class Capture:
    """Takes the money of sales. Every step may be repeated, by anybody."""

    records: Records
    payments: Payments
    clock: Clock
    settings: Settings
    claims: Claims | None

    async def take(self, sold: Sold, on_wait: OnWait) -> bool:
        """Take the money of a sale; ``False`` when somebody else must act first.

        Raises:
            Unavailable: Redis or Stripe does not answer.
        """
        if not await self._is_durable(sold):
            return False
        if self.claims is None:
            return await self._take(sold, on_wait)
        if sold.record.given_back:
            return await self._undo(self.claims, sold, on_wait)
        sale = await self._sale(sold)
        if sale is None:
            return True  # It has moved on meanwhile: look again.
        try:
            with span("claim units", Kind.CLIENT):
                other = await self.claims.claim(sale)
        except (Unavailable, Overloaded) as silent:
            log.warning("payments: order %s: not claimed yet: %s", sale.order, silent)
            return False
        if other is None:
            return await self._take(sold, on_wait)
        log.error("payments: order %s: order %s has a unit of it; voiding", sale.order, other)
        await self._remember(self.claims, sold.shop, other)
        return await self._undo(self.claims, sold, on_wait)

    async def _is_durable(self, sold: Sold) -> bool:
        """Repeat the commit, whose effect is there already, to learn whether replicas have it.

        Raises:
            CalledOff: its effect was not there any more, and it is sold anew: look again.
        """
        if not self.settings.waits:
            return True
        try:
            units = await self.records.commit(sold.shop, sold.record, *sold.event)
        except (NotDurable, CommitRefused, CommitEnded):
            return False
        if units != sold.record.units:
            raise CalledOff
        return True

    async def _take(self, sold: Sold, on_wait: OnWait) -> bool:
        shop, record = sold.shop, sold.record
        try:
            intent = await self.payments.capture(shop, record, on_wait)
        except (Declined, NotPossible):
            intent = await self.payments.read(sold.intent)
        if intent.status == "succeeded":
            return await self._mark(shop, record)
        if intent.status == "requires_capture":
            return False
        log.error("payments: order %s: capture refused: %s", record.order, intent.status)
        if self.claims:
            # First, for nobody looks at an order again that has failed.
            await self.claims.void(shop, record.order)
        return await self.records.fail(shop, record, "capture_refused")

    async def _mark(self, shop: str, record: Record) -> bool:
        """The money is ours. A server that does not know the sale any more has forgotten it, maybe
        while Stripe was being asked: a rebuild did not find it there, and must look again.
        """
        if await self.records.move(shop, record, Phase.CAPTURED):
            return True
        now = await self.records.find(shop, record.order)
        if now is None or now.phase not in _AFTER_COMMIT:
            log.error("payments: order %s: captured, and forgotten by the server", record.order)
            await freeze(self.records.lane, shop)
        return False

    # Strict mode

    async def _sale(self, sold: Sold) -> Sale | None:
        """The sale as it is to be claimed; ``None`` when the order is not committed any more."""
        kept = await self.records.kept(sold.shop, sold.record.order)
        if (kept.get("phase"), kept.get("intent")) != (Phase.COMMITTED, sold.intent):
            return None
        restorable = {name: text for name, text in kept.items() if name not in _NOT_CLAIMED}
        return Sale(
            shop=sold.shop,
            order=sold.record.order,
            intent=sold.intent,
            hold=sold.record.hold,
            units=UNITS.decode(kept["units"]),
            record=msgspec.json.encode(restorable),
            claimed_at=self.clock.now_ms(),
        )

    async def _undo(self, claims: Claims, sold: Sold, on_wait: OnWait) -> bool:
        """Another order has a unit of this one. First the money, for only then *not charged* is
        true.
        """
        if not await self._is_given_back(claims, sold, on_wait):
            return False
        await claims.void(sold.shop, sold.record.order)
        return await self.records.fail(sold.shop, sold.record, "sold_twice")

    async def _remember(self, claims: Claims, shop: str, other: str) -> None:
        """If Redis has forgotten an order that has units by the table, the shop is stopped until it
        is written again, lest its units are sold once more.
        """
        known = await self.records.find(shop, other)
        forgotten = known is None or known.phase not in _AFTER_COMMIT
        if forgotten and await claims.has(shop, other):
            await freeze(self.records.lane, shop)

    async def _is_given_back(self, claims: Claims, sold: Sold, on_wait: OnWait) -> bool:
        shop, record = sold.shop, sold.record
        try:
            await self.payments.cancel(shop, record, sold.intent, on_wait=on_wait)
        except NotPossible:
            status = (await self.payments.read(sold.intent)).status
        else:
            return True
        if status == "canceled":
            return True
        if status != "succeeded":
            raise Unavailable("The payment could not be voided yet.")
        if not record.given_back and await claims.has(shop, record.order):
            # Redis has forgotten this one, too, and numbered it anew.
            log.error("payments: order %s: captured for other units; rebuild", record.order)
            return False
        # Some methods take the money at once. Written first: from then on nobody captures it.
        kept = {"given_back": sold.intent}
        look_again_ms = self.settings.settle_interval_s * 1000
        if not await self.records.move(
            shop, record, Phase.COMMITTED, kept, look_again_ms=look_again_ms
        ):
            return False
        await self.payments.give_back(shop, record, sold.intent)
        return True
