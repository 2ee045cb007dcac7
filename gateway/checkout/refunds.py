"""Money that goes back: reserved in the order's record, asked of Stripe, then told to everybody.

A refund is begun under its caller's key, in one script that never lets all refunds together exceed
what was captured. From then on anybody may go on with it, at any time and any number of times: who
asked for it, another gateway, the sweep. ``payback`` sees to it that the money goes back once; and
one script ends the refund, makes the order its next version, hands that to the POS and puts units
back into the stock.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from gateway.checkout.payback import pay_back
from gateway.checkout.payment import Payments
from gateway.checkout.provider import NotPossible
from gateway.checkout.record import Record
from gateway.checkout.refund import Kept, Refund, RefundRequest, next_version
from gateway.clock import Clock, rfc3339
from gateway.errors import (
    HoldfastError,
    IdempotencyKeyReused,
    Invalid,
    LimitExceeded,
    NotCaptured,
    NotFound,
    RefundTooMuch,
    Unavailable,
)
from gateway.keys import ShopKeys
from gateway.lane import Lane, Word
from gateway.messages import OrderFrame, OrderView
from gateway.model import Order
from gateway.news import tell
from gateway.scripts import load
from gateway.settings import Settings

log = logging.getLogger(__name__)

MOST = 100
"""Refunds of one order, those that failed included."""
_TRIES = 16
"""Times the order's next version is encoded when others are faster."""

Encode = Callable[[str, Order], tuple[str, bytes]]
"""Writes the POS' event of an order: shop, order → event id, encoded event."""


class _Event(Struct, frozen=True):
    data: Order


_EVENT = msgspec.json.Decoder(_Event)
_REFUNDS = msgspec.json.Decoder(tuple[Refund, ...])


@dataclass(frozen=True, slots=True)
class Refunds:
    """Refunds of captured orders, for any shop of this Redis."""

    lane: Lane
    payments: Payments
    settings: Settings
    clock: Clock
    encode_event: Encode
    ended: Counter[str] = field(default_factory=Counter)
    """Refunds this process has ended: ``done``, or ``failed``."""

    async def begin(self, shop: str, order: str, key: str, request: RefundRequest) -> Refund:
        """Reserve a refund under the caller's key; the same again is the same refund.

        When it returns, ``go_on`` with the order.

        Raises:
            Invalid, RefundTooMuch, LimitExceeded: it cannot be.
            IdempotencyKeyReused: the key came with another request.
            NotFound, NotCaptured: there is no such order, or its money is not ours.
            Unavailable: the replicas asked for do not have it yet; repeat it.
        """
        request.check()
        words, durable = await self._reserve(shop, order, key, request.fingerprint, request)
        match words:
            case ["BEGUN" | "REPEATED", n]:
                if not durable:
                    raise Unavailable("The refund is not safe yet; send it again.")
                return (await self.read(shop, order)).refunds[int(n) - 1]
        raise await self._refusal(shop, order, words)

    async def _reserve(
        self, shop: str, order: str, key: str, fingerprint: str, request: RefundRequest | None
    ) -> tuple[list[str], bool]:
        """Run ``refund_begin``; its words, and whether the replicas have what it wrote.

        Without a request, it is only asked for.
        """
        asked_only, request = request is None, request or RefundRequest()
        keys, settings = ShopKeys(shop), self.settings
        lines = msgspec.json.encode(request.lines) if request.lines else ""
        durable = await self.lane.call_durably(
            load("refund_begin"),
            (keys.meta, keys.unsettled, keys.order(order)),
            (
                order,
                key,
                fingerprint,
                request.amount.amount if request.amount else "",
                request.amount.currency if request.amount else "",
                lines,
                "1" if request.restocks else "",
                request.reason or "",
                settings.settle_interval_s * 1000,
                settings.order_retention_days * 86_400_000,
                MOST,
                "1" if asked_only else "",
            ),
        )
        words = [word.decode() for word in durable.reply]
        return words, durable.replicas >= settings.wait_replicas

    async def _refusal(self, shop: str, order: str, words: list[str]) -> HoldfastError:
        """Say why there is no refund."""
        match words:
            case ["KEY_REUSED"]:
                return IdempotencyKeyReused("This key was used for another refund of the order.")
            case ["NOT_FOUND"]:
                return NotFound("There is no such order.")
            case ["NOT_CAPTURED", phase]:
                return NotCaptured(
                    "There is no money to give back yet, or none any more.", state=phase
                )
            case ["CURRENCY", currency]:
                return Invalid(f"amount.currency: The order was paid in {currency}.")
            case ["FREE"]:
                return Invalid("lines: They cost nothing; there is no money to give back.")
            case ["FULL", limit]:
                return LimitExceeded("The order has too many refunds.", limit=int(limit))
        currency = (await self.read(shop, order)).order.total.currency
        match words:
            case ["TOO_MUCH", left]:
                return _too_much("This is more than is left to refund.", int(left), currency)
            case ["TOO_MANY", sku, units, left]:
                message = f"There are only {units} units of {sku} left to refund."
                return _too_much(message, int(left), currency, sku=sku, quantity=int(units))
        raise AssertionError(f"refund_begin said {words}")

    async def read(self, shop: str, order: str) -> Kept:
        """The refunds of a captured order, as they are now.

        Raises:
            NotFound: there is no such order.
        """
        key = ShopKeys(shop).order(order)
        refunds, event = await self.lane.command("HMGET", key, "refunds", "event")
        if event is None:
            raise NotFound("There is no such order.")
        return Kept(_EVENT.decode(event).data, _REFUNDS.decode(refunds or b"[]"))

    async def go_on(self, shop: str, record: Record) -> bool:
        """Do what comes next for an order's pending refunds, and say whether any of them moved.

        Raises:
            Unavailable: Redis or Stripe does not answer; go on later.
        """
        moved, trouble = False, None
        for refund in (await self.read(shop, record.order)).pending:
            try:
                moved |= await self._step(shop, record, refund)
            except Unavailable as error:
                # One that is stuck keeps no other waiting.
                trouble = error
        if trouble and not moved:
            raise trouble
        return moved

    async def _step(self, shop: str, record: Record, refund: Refund) -> bool:
        if not await self._is_durable(shop, record, refund):
            return False
        try:
            answer = await pay_back(self.payments.provider, self.settings, shop, record, refund)
        except NotPossible as refusal:
            return await self._fail(shop, record, refund, refusal.code)
        match answer.status:
            case "succeeded":
                return await self._finish(shop, record, refund, answer.id)
            case "failed" | "canceled":
                return await self._fail(shop, record, refund, answer.failure or answer.status)
        return False

    async def _is_durable(self, shop: str, record: Record, refund: Refund) -> bool:
        """Repeat the reservation, whose effect is there already, to learn who has it."""
        if not self.settings.waits:
            return True
        words, durable = await self._reserve(
            shop, record.order, refund.key, refund.fingerprint, None
        )
        return durable and words[0] == "REPEATED"

    async def _fail(self, shop: str, record: Record, refund: Refund, code: str) -> bool:
        """There will be no money: free what was reserved."""
        log.error("refunds: order %s: refund %d refused: %s", record.order, refund.n, code)
        words = await self._end(shop, record, refund, "failed", code)
        return words[0] == "FINISHED"

    async def _finish(self, shop: str, record: Record, refund: Refund, reference: str) -> bool:
        """The money went back: make the order its next version."""
        handed_over = False
        for _ in range(_TRIES):
            kept = await self.read(shop, record.order)
            now = rfc3339(self.clock.now_ms())
            order = next_version(kept, refund, reference, now, handed_over=handed_over)
            words = await self._end(shop, record, refund, "done", reference, order)
            match words[0]:
                case "FINISHED":
                    await self._tell(shop, record)
                    return True
                case "HANDED_OVER":
                    handed_over = True
                case "NOT_FOUND":
                    return False
        return False

    async def _end(
        self,
        shop: str,
        record: Record,
        refund: Refund,
        state: str,
        word: str,
        order: Order | None = None,
    ) -> list[str]:
        """Run ``refund_finish``; its words."""
        keys = ShopKeys(shop)
        told: tuple[Word, ...] = ("", "", "", "")
        if order:
            event_id, event = self.encode_event(shop, order)
            told = (order.order_version - 1, event_id, event, order.state)
        reply = await self.lane.call(
            load("refund_finish"),
            (
                keys.meta,
                keys.stock,
                keys.ledger,
                keys.orders,
                keys.news,
                keys.unsettled,
                keys.shopper(record.shopper),
                keys.order(record.order),
            ),
            (record.order, refund.n, state, word, *told),
        )
        words = [said.decode() for said in reply]
        if words[0] == "FINISHED":
            self.ended[state] += 1
        return words

    async def _tell(self, shop: str, record: Record) -> None:
        """Push the order as it is now."""
        order = (await self.read(shop, record.order)).order
        view = OrderView(
            order.id, record.hold, order.order_version, order.state, order.lines, order.total
        )
        await tell(self.lane, shop, record.shopper, (OrderFrame(order=view),))


def _too_much(message: str, left: int, currency: str, **facts: str | int) -> RefundTooMuch:
    return RefundTooMuch(message, refundable={"amount": left, "currency": currency}, **facts)
