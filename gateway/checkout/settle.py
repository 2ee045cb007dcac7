"""The one way a payment moves on.

``settle`` is called alike by the shopper's frame, Stripe's webhook and the sweep. It reads the
order's recovery point, does the next step, and goes on until there is nothing to do or somebody
else must act (the shopper's bank, Stripe, a replica). Every step may be repeated by anybody at any
time: the scripts and Stripe's idempotency keys see to it that it takes effect once.

    paying      ask Stripe, once it is our turn; approved: commit; declined: say so
    committed   make sure that the replicas have it; claim its units (strict mode); capture
    captured    give back what was asked to be refunded
    voiding     the hold is gone; approved late and units left: sell them; else give the money back
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from gateway.checkout.capture import Capture, Sold
from gateway.checkout.payment import Intent, Payments
from gateway.checkout.phases import RESTING, Phase
from gateway.checkout.provider import Declined
from gateway.checkout.record import Record
from gateway.checkout.records import CommitEnded, CommitRefused, NotDurable, Records
from gateway.checkout.refunds import Encode, Refunds
from gateway.checkout.sale import order_of
from gateway.checkout.turns import LONGEST_SILENCE_MS, CalledOff, OnWait, Place
from gateway.checkout.voiding import Case, Commit, Voiding
from gateway.checkout.words import checkout_frame, frames, queued_frame
from gateway.claims.table import Claims
from gateway.clock import Clock
from gateway.errors import NotFound
from gateway.lane import Lane
from gateway.messages import CheckoutFrame, Frame
from gateway.news import tell
from gateway.settings import Settings
from gateway.traces import Kind, Tracer, about, here, parse

log = logging.getLogger(__name__)

_MOST_STEPS = 8
"""Steps of one call. The longest honest way, paying to captured, takes four."""

Hear = Callable[[CheckoutFrame], None]
"""Hears a place in the queue as soon as it is known."""


@dataclass(frozen=True, slots=True)
class Settler:
    """Moves payments on, for any shop of this Redis."""

    lane: Lane
    records: Records
    payments: Payments
    clock: Clock
    settings: Settings
    refunds: Refunds
    encode_event: Encode
    tracer: Tracer
    claims: Claims | None = None
    """Strict mode: where each unit is claimed before its money is captured."""

    async def settle(self, shop: str, order: str, hear: Hear | None = None) -> CheckoutFrame:
        """Move a payment on as far as it goes now, and say how far that is.

        Raises:
            NotFound: there is no such order.
            Unavailable: Redis or Stripe does not answer; the sweep goes on later.
        """
        record = await self._find(shop, order)
        if record.phase in RESTING and not record.refunding:
            return checkout_frame(record)
        # Whoever asks is in a trace, or goes on in that of the purchase.
        trace = here() or parse(record.traceparent)
        with (
            about(shop=shop, order=order, hold=record.hold),
            self.tracer.enter(trace, "settle", Kind.INTERNAL) as step,
        ):
            record = await self._move_on(shop, record, hear)
            step.note({"holdfast.phase": record.phase})
        return checkout_frame(record)

    async def _move_on(self, shop: str, record: Record, hear: Hear | None) -> Record:
        """Do step after step; the record as they leave it."""
        for _ in range(_MOST_STEPS):
            if record.phase in RESTING and not record.refunding:
                break
            case = Case(shop, record, self._waiting(shop, record, hear))
            if not await self._step(case):
                break
            before, record = record, await self._find(shop, record.order)
            if record == before:
                break
            if before.phase is not Phase.CAPTURED:  # Of refunds, ``refunds`` has told already.
                await tell(self.lane, shop, record.shopper, frames(record))
        return record

    async def _step(self, case: Case) -> bool:
        """Do what comes next; ``False`` when somebody else must act first."""
        steps: dict[Phase, Callable[[Case], Awaitable[bool]]] = {
            Phase.PAYING: self._pay,
            Phase.COMMITTED: self._capture,
            Phase.CAPTURED: self._refund,
            Phase.VOIDING: self.voiding.go_on,
        }
        try:
            return await steps[case.record.phase](case)
        except CalledOff:
            return True  # The order has moved on meanwhile: look again.
        except NotDurable:
            log.warning("payments: order %s: not on the replicas yet", case.record.order)
            return False

    # Paying

    async def _pay(self, case: Case) -> bool:
        """An attempt is under way: find out what Stripe says, and act on it."""
        shop, record = case.shop, case.record
        try:
            if record.intent:
                intent = await self.payments.read(record.intent, case.on_wait)
            else:
                intent = await self.payments.authorize(
                    shop, record, lambda: self._is_asked(case), case.on_wait
                )
        except Declined as declined:
            return await self._decline(case, declined.decline_code, declined.intent)
        if not self.payments.may_settle(shop, record, intent):
            log.error("payments: order %s: the intent is not its own; voiding", record.order)
            return await self.records.move(
                shop, record, Phase.VOIDING, {"reason": "mismatch"}, look_again_ms=0
            )
        if intent.approved:
            return await self._commit(case, intent)
        if intent.status in {"requires_payment_method", "canceled"}:
            return await self._decline(case, intent.decline_code or "card_declined", intent.id)
        pay_state = "requires_action" if intent.status == "requires_action" else "processing"
        known = (record.intent, record.pay_state) == (intent.id, pay_state)
        kept = await self._keep_intent(case, intent, pay_state=pay_state)
        return not (known and kept)

    async def _is_asked(self, case: Case) -> bool:
        """Our queue is behind it: from now on Stripe may know an intent of this attempt."""
        return await self.records.move(
            case.shop,
            case.record,
            Phase.PAYING,
            {"asked_at": str(self.clock.now_ms()), "pay_state": "processing"},
            look_again_ms=self._look_again_ms,
            hold_for_ms="waits",
        )

    async def _commit(self, case: Case, intent: Intent) -> bool:
        """The money is authorized: make the hold a sale."""
        if case.record.intent is None and not await self._keep_intent(case, intent):
            return True
        return await self._sell(case, intent.id, self.records.commit, if_over="expired")

    async def _keep_intent(self, case: Case, intent: Intent, **fields: str) -> bool:
        """Remember the intent of an attempt, or give it back when the attempt is over already.

        The hold may have been given back, or lapsed, while Stripe was asked. Whoever voids the
        order is told the intent; if nobody will look at it any more, it is cancelled here.
        """
        fields |= {"intent": intent.id, "client_secret": intent.client_secret}
        for phase in (Phase.PAYING, Phase.VOIDING):
            if await self._keep(case, phase, **fields):
                return phase is Phase.PAYING
        now = await self._find(case.shop, case.record.order)
        if now.intent != intent.id:
            await self.voiding.give_back(case, intent.id, intent.status)
        return False

    async def _keep(self, case: Case, phase: Phase, **fields: str) -> bool:
        """Keep fields with an order in a phase; ``False`` when it is in another."""
        return await self.records.move(
            case.shop, case.record, phase, fields, look_again_ms=self._look_again_ms
        )

    async def _decline(self, case: Case, decline_code: str, intent: str | None) -> bool:
        """The attempt failed for good. Its intent is cancelled, for a page still has its secret."""
        fields = {"decline_code": decline_code}
        if intent:
            await self.voiding.give_back(case, intent, "requires_payment_method")
            fields["intent"] = intent
        grace_ms = self.settings.decline_grace_s * 1000
        return await self.records.move(
            case.shop, case.record, Phase.DECLINED, fields, hold_for_ms=grace_ms
        )

    # Committed

    async def _capture(self, case: Case) -> bool:
        """The units are sold: take the money."""
        sold = Sold(case.shop, case.record, self._event(case, case.record.intent or ""))
        return await self.capture.take(sold, case.on_wait)

    @property
    def capture(self) -> Capture:
        """The last step of a sale."""
        return Capture(self.records, self.payments, self.clock, self.settings, self.claims)

    async def _refund(self, case: Case) -> bool:
        return await self.refunds.go_on(case.shop, case.record)

    # Voiding

    @property
    def voiding(self) -> Voiding:
        """What becomes of a payment whose hold is gone."""
        return Voiding(self.records, self.payments, self.clock, self.settings, self._sell)

    async def call_back(self, shop: str, order: str, intent: str) -> bool:
        """Cancel a stray: an intent of this order that can never settle it. ``True`` if it was one.

        The one the order is bound to, and one that an attempt under way may still be bound to, are
        left alone.

        Raises:
            NotFound: there is no such order.
            Unavailable: Redis or Stripe does not answer.
        """
        record = await self._find(shop, order)
        if record.intent == intent:
            return False
        found = await self.payments.read(intent)
        under_way = record.phase in {Phase.PAYING, Phase.VOIDING} and record.intent is None
        if self.payments.is_of(shop, record, found) and under_way:
            return False
        if found.open and self.payments.is_for(shop, order, found):
            log.warning("payments: order %s: a stray intent is cancelled", order)
            with contextlib.suppress(CalledOff):
                await self.voiding.give_back(Case(shop, record, _patient), intent, found.status)
                return True
        return False

    # The sale, and what is said

    async def _sell(
        self, case: Case, intent: str, commit: Commit, *, if_over: str | None = None
    ) -> bool:
        """Write the sale. If the hold is over: void for ``if_over``, or say ``False``."""
        event_id, event = self._event(case, intent)
        try:
            await commit(
                case.shop, msgspec.structs.replace(case.record, intent=intent), event_id, event
            )
        except CommitEnded:
            if if_over is None:
                return False
            over = {"reason": if_over}
            await self.records.move(case.shop, case.record, Phase.VOIDING, over, look_again_ms=0)
        except CommitRefused:
            return True
        except NotDurable:
            # Sold, but never captured before the replicas have it: the next step asks them again.
            log.warning("payments: order %s: not on the replicas yet", case.record.order)
        return True

    def _event(self, case: Case, intent: str) -> tuple[str, bytes]:
        order = order_of(case.record, intent, self.clock.now_ms())
        return self.encode_event(case.shop, order)

    async def _find(self, shop: str, order: str) -> Record:
        record = await self.records.find(shop, order)
        if record is None:
            raise NotFound("There is no such order.")
        return record

    @property
    def _look_again_ms(self) -> int:
        return self.settings.settle_interval_s * 1000

    def _waiting(self, shop: str, record: Record, hear: Hear | None) -> OnWait:
        async def wait(place: Place) -> bool:
            unasked = record.phase is Phase.PAYING and record.intent is None
            ours = await self.records.move(
                shop,
                record,
                record.phase,
                # Not while we are at it: the sweep would queue up for it as well.
                look_again_ms=LONGEST_SILENCE_MS + self._look_again_ms,
                hold_for_ms="waits" if unasked else None,
            )
            if ours and unasked:
                frame = queued_frame(record, place.position, place.eta_s)
                if hear:
                    hear(frame)
                await tell(self.lane, shop, record.shopper, (frame,))
            return ours

        return wait

    async def tidings(self, shop: str, order: str) -> tuple[Frame, ...]:
        """What a shopper who may have missed it is told of an order; nothing if there is none."""
        record = await self.records.legible(shop, order)
        return frames(record) if record else ()


async def _patient(_: Place) -> bool:
    return True
