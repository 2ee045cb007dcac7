"""The one way a payment moves on.

``settle`` is called alike by the shopper's frame, Stripe's webhook and the sweep. It reads the
order's recovery point, does the next step, and goes on until there is nothing to do or somebody
else must act (the shopper's bank, Stripe, a replica). Every step may be repeated by anybody at any
time: the scripts and Stripe's idempotency keys see to it that it takes effect once.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from gateway.checkout.payment import Declined, Intent, NotPossible, Payments
from gateway.checkout.phases import RESTING, Phase
from gateway.checkout.records import (
    CommitEnded,
    CommitRefused,
    NotDurable,
    Record,
    Records,
)
from gateway.checkout.words import checkout_frame
from gateway.clock import Clock, rfc3339
from gateway.errors import NotFound, Unavailable
from gateway.lane import Lane
from gateway.messages import CheckoutFrame, Frame, OrderFrame, encode
from gateway.model import Order, OrderFulfillment, Tender
from gateway.news import News, publish
from gateway.settings import Settings

log = logging.getLogger(__name__)

_MOST_STEPS = 8
"""Steps of one call. The longest honest way, paying to captured, takes four."""
_LOST_INTENT_MS = 60_000
"""How long after Stripe was last asked for an intent the request may still arrive, at least."""

Encode = Callable[[str, Order], tuple[str, bytes]]
"""Writes the POS' event of an order: shop, order → event id, encoded event."""


@dataclass(frozen=True, slots=True)
class Settler:
    """Moves payments on, for any shop of this Redis."""

    lane: Lane
    records: Records
    payments: Payments
    clock: Clock
    settings: Settings
    encode_event: Encode

    async def settle(self, shop: str, order: str) -> CheckoutFrame:
        """Move a payment on as far as it goes now, and say how far that is.

        Raises:
            NotFound: there is no such order.
            Unavailable: Redis or Stripe does not answer; the sweep goes on later.
        """
        record = await self._find(shop, order)
        for _ in range(_MOST_STEPS):
            if record.phase in RESTING or not await self._step(shop, record):
                break
            before, record = record, await self._find(shop, order)
            if record == before:
                break
            await self._tell(shop, record)
        return checkout_frame(record)

    async def _find(self, shop: str, order: str) -> Record:
        record = await self.records.find(shop, order)
        if record is None:
            raise NotFound("There is no such order.")
        return record

    async def _step(self, shop: str, record: Record) -> bool:
        """Do what comes next; ``False`` when somebody else must act first."""
        steps: dict[Phase, Callable[[str, Record], Awaitable[bool]]] = {
            Phase.PAYING: self._pay,
            Phase.COMMITTED: self._capture,
            Phase.VOIDING: self._void,
        }
        return await steps[record.phase](shop, record)

    async def _pay(self, shop: str, record: Record) -> bool:
        """An attempt is under way: find out what Stripe says, and act on it."""
        try:
            if record.intent:
                intent = await self.payments.read(record.intent)
            elif await self._keep(shop, record, asked_at=str(self.clock.now_ms())):
                intent = await self.payments.authorize(shop, record)
            else:
                return True
        except Declined as declined:
            return await self._decline(shop, record, declined.decline_code, declined.intent)
        if not _is_ours(shop, record, intent):
            log.error("payments: order %s: the intent is not its own; voiding", record.order)
            return await self.records.move(
                shop, record, Phase.VOIDING, {"reason": "mismatch"}, look_again_ms=0
            )
        match intent.status:
            case "requires_capture":
                return await self._commit(shop, record, intent)
            case "requires_payment_method" | "canceled":
                code = intent.decline_code or "card_declined"
                return await self._decline(shop, record, code, intent.id)
            case status:
                return await self._wait(shop, record, intent, status)

    async def _wait(self, shop: str, record: Record, intent: Intent, status: str) -> bool:
        """The shopper's bank, or Stripe, is at work: remember the intent and look again."""
        pay_state = "requires_action" if status == "requires_action" else "processing"
        known = (record.intent, record.pay_state) == (intent.id, pay_state)
        if not await self._keep_intent(shop, record, intent, pay_state=pay_state):
            return True
        return not known

    async def _commit(self, shop: str, record: Record, intent: Intent) -> bool:
        """The money is authorized: make the hold a sale."""
        if record.intent is None and not await self._keep_intent(shop, record, intent):
            return True
        try:
            await self._write_sale(shop, record, intent.id)
        except CommitEnded:
            return await self.records.move(
                shop, record, Phase.VOIDING, {"reason": "expired"}, look_again_ms=0
            )
        except CommitRefused:
            return True
        except NotDurable:
            log.warning("payments: order %s: the replicas do not have it yet", record.order)
            return False
        return True

    async def _write_sale(self, shop: str, record: Record, intent: str) -> None:
        event_id, event = self.encode_event(shop, self._order(record, intent))
        await self.records.commit(shop, record, event_id, event)

    async def _keep(self, shop: str, record: Record, **fields: str) -> bool:
        """Keep fields with an attempt under way; ``False`` when it no longer is."""
        look_again_ms = self.settings.settle_interval_s * 1000
        return await self.records.move(
            shop, record, Phase.PAYING, fields, look_again_ms=look_again_ms
        )

    async def _keep_intent(self, shop: str, record: Record, intent: Intent, **fields: str) -> bool:
        """Remember the intent of an attempt, or give it back when the attempt is over already.

        The hold may have been given back, or lapsed, while Stripe was asked. Whoever voided the
        order then did not know the intent, so it is cancelled by who does.
        """
        if await self._keep(
            shop, record, intent=intent.id, client_secret=intent.client_secret, **fields
        ):
            return True
        now = await self._find(shop, record.order)
        if now.intent != intent.id:
            await self._cancel(shop, record, intent.id)
        return False

    async def _capture(self, shop: str, record: Record) -> bool:
        """The units are sold: take the money."""
        if not await self._is_durable(shop, record):
            return False
        try:
            intent = await self.payments.capture(shop, record)
        except (Declined, NotPossible):
            intent = await self.payments.read(record.intent or "")
        if intent.status == "succeeded":
            return await self.records.move(shop, record, Phase.CAPTURED)
        if intent.status == "requires_capture":
            return False
        log.error("payments: order %s: capture refused: %s", record.order, intent.status)
        return await self.records.fail(shop, record, "capture_refused")

    async def _is_durable(self, shop: str, record: Record) -> bool:
        """Repeat the commit, whose effect is there already, to learn whether replicas have it."""
        if not self.settings.wait_replicas:
            return True
        try:
            await self._write_sale(shop, record, record.intent or "")
        except (NotDurable, CommitRefused):
            return False
        return True

    async def _decline(
        self, shop: str, record: Record, decline_code: str, intent: str | None
    ) -> bool:
        """The attempt failed for good. Its intent is cancelled, for a page still has its secret."""
        fields = {"decline_code": decline_code}
        if intent:
            await self._cancel(shop, record, intent)
            fields["intent"] = intent
        grace_ms = self.settings.decline_grace_s * 1000
        return await self.records.move(shop, record, Phase.DECLINED, fields, hold_for_ms=grace_ms)

    async def _void(self, shop: str, record: Record) -> bool:
        """The hold is gone: give back whatever is authorized, once."""
        intent = record.intent
        if intent is None and record.asked_at:
            found = await self.payments.find(record)
            if found is None and self.clock.now_ms() < record.asked_at + self._lost_ms():
                return False
            intent = found.id if found else None
        if intent:
            await self._cancel(shop, record, intent)
        return await self.records.move(shop, record, Phase.VOIDED)

    def _lost_ms(self) -> int:
        """A request may be on its way for as long as the SDK waits for it, twice."""
        return max(_LOST_INTENT_MS, 3 * self.settings.stripe_timeout_ms)

    async def _cancel(self, shop: str, record: Record, intent: str) -> None:
        try:
            await self.payments.cancel(shop, record, intent)
        except NotPossible:
            state = await self.payments.read(intent)
            if state.status != "canceled":
                log.error("payments: order %s: cannot void: %s", record.order, state.status)
                raise Unavailable("The payment could not be voided yet.") from None

    def _order(self, record: Record, intent: str) -> Order:
        now = rfc3339(self.clock.now_ms())
        return Order(
            id=record.order,
            order_version=1,
            state="confirmed",
            lines=record.lines,
            total=record.total,
            tenders=(Tender("card", record.total, "stripe", intent),),
            contact=record.contact,
            fulfillment=OrderFulfillment(
                type=record.fulfillment.type,
                state="proposed",
                location=record.fulfillment.location,
                ship_to=record.ship_to,
            ),
            show=record.show,
            occurred_at=now,
            recorded_at=now,
        )

    async def tidings(self, shop: str, order: str) -> tuple[Frame, ...]:
        """What a shopper who may have missed it is told of an order; nothing if there is none."""
        record = await self.records.find(shop, order)
        return _frames(record) if record else ()

    async def _tell(self, shop: str, record: Record) -> None:
        """Push how far the payment is to the shopper's sockets, wherever they are."""
        for frame in _frames(record):
            news = News(shopper=record.shopper, frame=msgspec.Raw(encode(frame)))
            await publish(self.lane, shop, news)


def _frames(record: Record) -> tuple[Frame, ...]:
    if record.phase is Phase.CAPTURED:
        return checkout_frame(record), OrderFrame(order=record.view("confirmed"))
    return (checkout_frame(record),)


def _is_ours(shop: str, record: Record, intent: Intent) -> bool:
    """An intent settles an order only if it was made for it, to the last detail."""
    return (
        intent.amount == record.amount
        and intent.currency == record.currency
        and intent.metadata.get("shop") == shop
        and intent.metadata.get("order") == record.order
        and intent.metadata.get("attempt") == str(record.attempt)
    )
