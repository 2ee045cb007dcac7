"""Names what is wrong with an order: given what Redis, Stripe and the order stream say. Pure.

A difference is named only when waiting will not make it go away: a payment under way is nobody's
difference until it has been so for ``LYING_MS``.
"""

from enum import Enum, StrEnum

import msgspec
from msgspec import Struct

from gateway.checkout.phases import RESTING, Phase

LYING_MS = 840_000
"""No authorization may be left neither captured nor cancelled for longer than 15 minutes; it is
looked for a little earlier, since a look comes once a minute."""

UNMARKED_MS = 60_000
"""How long after the commit a capture may go unmarked: the sweep settles several times in that."""

_OPEN = frozenset(
    {"requires_capture", "requires_action", "requires_confirmation", "requires_payment_method"}
)
"""Money is set aside, or whoever has the intent's secret may still see to it that it is."""
_SOLD = frozenset({Phase.COMMITTED, Phase.CAPTURED})
_UNSETTLED = frozenset({Phase.PAYING, Phase.VOIDING})


class Difference(StrEnum):
    """What can be wrong, and what is done about it."""

    AUTHORIZATION_OF_UNKNOWN_ORDER = "authorization_of_unknown_order"
    """Money is set aside for an order this Redis does not know. Cancelled."""
    STRAY_AUTHORIZATION = "stray_authorization"
    """Money is set aside by an attempt that is not the order's own and never will be. Cancelled."""
    AUTHORIZATION_WITHOUT_SALE = "authorization_without_sale"
    """The order ended without a sale, and its money is still set aside. Cancelled."""
    AUTHORIZATION_OF_LOST_ORDER = "authorization_of_lost_order"
    """The order is in the stream, its record is lost, and its money was never captured. For a
    person: the POS may have it."""
    PAYMENT_LEFT_LYING = "payment_left_lying"
    """A payment was begun long ago and has not ended. Settled; voided if its hold is gone."""
    CAPTURE_NOT_MARKED = "capture_not_marked"
    """The money is taken, the record does not know. Settled, which marks it."""
    SOLD_BUT_CANCELED = "sold_but_canceled"
    """The units are sold, the authorization is gone. Settled, which puts the units back on sale."""
    CAPTURED_WITHOUT_SALE = "captured_without_sale"
    """The money is taken, the order ended without a sale. Given back once; the shopper is told."""
    STRAY_CHARGE = "stray_charge"
    """An attempt that is not the order's own took money. Given back once."""
    CAPTURED_FOR_UNKNOWN_ORDER = "captured_for_unknown_order"
    """Money was taken for an order this Redis does not know. Given back when a person asks for it:
    a lost database must not refund a shop's history."""
    CHARGE_OF_LATER_ATTEMPT = "charge_of_later_attempt"
    """An attempt this Redis has not seen yet took money: Redis went back in time. For a person."""
    SOLD_WITHOUT_MONEY = "sold_without_money"
    """The record says the money is ours; Stripe has none. For a person."""
    AMOUNT_DIFFERS = "amount_differs"
    """Stripe took another amount, or currency, than the order's total. For a person."""
    REFUNDS_DIFFER = "refunds_differ"
    """Stripe gave back another amount than the record's refunds. Settled, which finishes a refund
    that is under way; one made behind our back is for a person."""
    EVENT_MISSING = "event_missing"
    """The order is sold, and its event is not in the stream. Appended again; the POS drops it by
    its id if it has it already."""
    EVENT_DOUBLED = "event_doubled"
    """An event is twice in the stream. The later copy is dropped."""
    EVENT_WITHOUT_RECORD = "event_without_record"
    """The stream has an event of an order this Redis does not know. For a person."""
    RECORD_UNREADABLE = "record_unreadable"
    """The order's record makes no sense here: a newer version wrote it, or somebody by hand.
    Nothing else is said of the order. For a person."""
    EVENT_UNREADABLE = "event_unreadable"
    """An event in the stream makes no sense here: a newer version wrote it, or somebody by hand, or
    it is damaged. A POS that pulls never gets it; one that is pushed gets it as it is. The entry
    stays. For a person."""
    EVENT_OF_UNSOLD_ORDER = "event_of_unsold_order"
    """The stream has an event of an order that is not sold, so that the POS may get it. For a
    person. An order that *failed* keeps its event by design: it is never delivered."""


class Repair(Enum):
    """What can be done."""

    SETTLE = "settle the payment"
    CANCEL = "cancel the authorization"
    GIVE_BACK = "refund all of it"
    GIVE_BACK_BY_HAND = "refund all of it, when a person says so"
    APPEND = "append the record's event again"
    DROP_COPY = "drop the later copy"
    NONE = "a person must look"


REPAIRS = {
    Difference.AUTHORIZATION_OF_UNKNOWN_ORDER: Repair.CANCEL,
    Difference.STRAY_AUTHORIZATION: Repair.CANCEL,
    Difference.AUTHORIZATION_WITHOUT_SALE: Repair.CANCEL,
    Difference.AUTHORIZATION_OF_LOST_ORDER: Repair.NONE,
    Difference.PAYMENT_LEFT_LYING: Repair.SETTLE,
    Difference.CAPTURE_NOT_MARKED: Repair.SETTLE,
    Difference.SOLD_BUT_CANCELED: Repair.SETTLE,
    Difference.CAPTURED_WITHOUT_SALE: Repair.GIVE_BACK,
    Difference.STRAY_CHARGE: Repair.GIVE_BACK,
    Difference.CAPTURED_FOR_UNKNOWN_ORDER: Repair.GIVE_BACK_BY_HAND,
    Difference.CHARGE_OF_LATER_ATTEMPT: Repair.NONE,
    Difference.SOLD_WITHOUT_MONEY: Repair.NONE,
    Difference.AMOUNT_DIFFERS: Repair.NONE,
    Difference.REFUNDS_DIFFER: Repair.SETTLE,
    Difference.RECORD_UNREADABLE: Repair.NONE,
    Difference.EVENT_MISSING: Repair.APPEND,
    Difference.EVENT_DOUBLED: Repair.DROP_COPY,
    Difference.EVENT_WITHOUT_RECORD: Repair.NONE,
    Difference.EVENT_UNREADABLE: Repair.NONE,
    Difference.EVENT_OF_UNSOLD_ORDER: Repair.NONE,
}


class Charge(Struct, frozen=True):
    """One of our PaymentIntents as Stripe has it. Amounts are in minor units, times in ms."""

    id: str
    status: str
    currency: str
    received: int
    refunded: int
    created_at: int
    shop: str
    order: str
    attempt: int

    @property
    def open(self) -> bool:
        """Money is set aside, or may still be."""
        return self.status in _OPEN

    @property
    def taken(self) -> bool:
        """Money was taken, and not all of it is given back."""
        return self.status == "succeeded" and self.received > self.refunded


class Refund(Struct, frozen=True):
    """One refund of the record, as far as its amount goes."""

    amount: int
    state: str


_REFUNDS = msgspec.json.Decoder(tuple[Refund, ...])


class Standing(Struct, frozen=True):
    """An order as its record has it: what is compared of it. Times are ms, by Redis' clock."""

    phase: Phase
    attempt: int
    amount: int
    currency: str
    intent: str | None = None
    committed_at: int = 0
    budget_until: int = 0
    event_id: str = ""
    refunds: tuple[Refund, ...] = ()

    @property
    def sold(self) -> bool:
        """Its units are sold, and not back on sale."""
        return self.phase in _SOLD

    def owns(self, charge: Charge) -> bool:
        """Whether it is this intent that decides the order; its id may not have reached us yet."""
        if self.intent is None:
            return self.phase in _UNSETTLED and charge.attempt == self.attempt
        return charge.id == self.intent


class Unreadable(Struct, frozen=True):
    """A record that makes no sense here."""

    fields: tuple[bytes | None, ...]
    """As Redis answered them."""


STANDING_FIELDS = (
    "phase",
    "attempt",
    "amount",
    "currency",
    "intent",
    "committed_at",
    "budget_until",
    "event_id",
    "refunds",
)
"""The fields of an order's record that ``standing`` reads, in this order."""


def standing(values: list[bytes | None]) -> Standing | Unreadable | None:
    """Read ``STANDING_FIELDS`` as Redis answers them; ``None`` without a record."""
    phase, *others = values
    if phase is None:
        return None
    try:
        return _standing(phase, *others)
    except (ValueError, msgspec.DecodeError):
        return Unreadable(tuple(values))


def _standing(phase: bytes, *values: bytes | None) -> Standing:
    attempt, amount, currency, intent, committed, budget, event_id, refunds = values
    return Standing(
        phase=Phase(phase.decode()),
        attempt=int(attempt or 0),
        amount=int(amount or 0),
        currency=(currency or b"").decode(),
        intent=intent.decode() if intent else None,
        committed_at=int(committed or 0),
        budget_until=int(budget or 0),
        event_id=(event_id or b"").decode(),
        refunds=_REFUNDS.decode(refunds) if refunds else (),
    )


def of_charge(
    order: Standing | None, charge: Charge, now_ms: int, *, handed_on: bool = False
) -> Difference | None:
    """Compare an order's record with one of the intents made for it.

    ``handed_on`` when the order is in the stream: then it was a sale, whatever else is lost.
    """
    old = charge.created_at < now_ms - LYING_MS
    if order is None:
        if not old:
            return None
        if handed_on:
            return Difference.AUTHORIZATION_OF_LOST_ORDER if charge.open else None
        if charge.open:
            return Difference.AUTHORIZATION_OF_UNKNOWN_ORDER
        return Difference.CAPTURED_FOR_UNKNOWN_ORDER if charge.taken else None
    if not order.owns(charge):
        return _of_stray(order, charge, old=old)
    if order.phase in _UNSETTLED:
        return _of_unsettled(order, charge, now_ms) if old else None
    if order.phase is Phase.COMMITTED:
        return _of_committed(order, charge, now_ms, old=old)
    if order.phase is Phase.CAPTURED:
        return _of_captured(order, charge)
    if charge.taken:
        return Difference.CAPTURED_WITHOUT_SALE
    return Difference.AUTHORIZATION_WITHOUT_SALE if charge.open else None


def _of_stray(order: Standing, charge: Charge, *, old: bool) -> Difference | None:
    """An intent that is not the order's own. Attempts only rise, so an earlier one never will be;
    and a record at rest begins a new attempt, with a new intent, or none.
    """
    if charge.open:
        over = charge.attempt < order.attempt or order.phase in RESTING
        return Difference.STRAY_AUTHORIZATION if over or old else None
    if not charge.taken:
        return None
    if charge.attempt > order.attempt:
        return Difference.CHARGE_OF_LATER_ATTEMPT if old else None
    return Difference.STRAY_CHARGE


def _of_unsettled(order: Standing, charge: Charge, now_ms: int) -> Difference | None:
    """Begun long ago. A shop may give a second step longer than that."""
    waits = charge.status in {"requires_action", "processing"} and now_ms < order.budget_until
    return None if waits and order.phase is Phase.PAYING else Difference.PAYMENT_LEFT_LYING


def _of_committed(order: Standing, charge: Charge, now_ms: int, *, old: bool) -> Difference | None:
    if charge.status == "succeeded":
        late = order.committed_at < now_ms - UNMARKED_MS
        return Difference.CAPTURE_NOT_MARKED if late else None
    if charge.status != "requires_capture":
        return Difference.SOLD_BUT_CANCELED
    return Difference.PAYMENT_LEFT_LYING if old else None


def _of_captured(order: Standing, charge: Charge) -> Difference | None:
    if charge.status != "succeeded":
        return Difference.SOLD_WITHOUT_MONEY
    if (charge.received, charge.currency) != (order.amount, order.currency):
        return Difference.AMOUNT_DIFFERS
    done = sum(refund.amount for refund in order.refunds if refund.state == "done")
    asked = sum(refund.amount for refund in order.refunds if refund.state != "failed")
    return None if done <= charge.refunded <= asked else Difference.REFUNDS_DIFFER


def of_event(order: Standing | None, event_ids: frozenset[str]) -> Difference | None:
    """Compare an order's record with the events the stream has of it."""
    if order is None:
        return Difference.EVENT_WITHOUT_RECORD if event_ids else None
    if order.sold:
        return None if order.event_id in event_ids else Difference.EVENT_MISSING
    if order.phase is Phase.FAILED or not event_ids:
        return None
    return Difference.EVENT_OF_UNSOLD_ORDER
