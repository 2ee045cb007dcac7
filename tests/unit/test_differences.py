"""Every difference is named for what it is, and what is still moving is not one."""

from typing import Any

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.reconcile.differences import (
    LYING_MS,
    REPAIRS,
    STANDING_FIELDS,
    UNMARKED_MS,
    Charge,
    Difference,
    Refund,
    Standing,
    Unreadable,
    of_charge,
    of_event,
    standing,
)

NOW = 1_800_000_000_000
OLD = NOW - LYING_MS - 1_000
FRESH = NOW - 1_000
D = Difference


def order(phase: str, **changes: Any) -> Standing:
    """An order of 1500 EUR in its second attempt, bound to ``pi_own``."""
    made = Standing(
        Phase(phase), 2, 1500, "EUR", intent="pi_own", committed_at=OLD, event_id="evt_o_1"
    )
    return msgspec.structs.replace(made, **changes)


def charge(status: str, created_at: int = OLD, **changes: Any) -> Charge:
    """The order's own intent."""
    received = 1500 if status == "succeeded" else 0
    made = Charge("pi_own", status, "EUR", received, 0, created_at, "shop", "o", 2)
    return msgspec.structs.replace(made, **changes)


def stray(status: str, attempt: int = 1, created_at: int = OLD) -> Charge:
    return charge(status, created_at, id="pi_stray", attempt=attempt)


def refund(amount: int, state: str) -> Refund:
    return Refund(amount, state)


OPEN = ("requires_capture", "requires_action", "requires_confirmation", "requires_payment_method")
UNSOLD = ("declined", "voided", "failed")

TABLE: list[tuple[Standing | None, Charge, Difference | None]] = [
    # Nobody here knows the order.
    *((None, charge(status), D.AUTHORIZATION_OF_UNKNOWN_ORDER) for status in OPEN),
    (None, charge("requires_capture", FRESH), None),
    (None, charge("canceled"), None),
    (None, charge("succeeded"), D.CAPTURED_FOR_UNKNOWN_ORDER),
    (None, charge("succeeded", FRESH), None),
    (None, charge("succeeded", refunded=1500), None),
    # The intent is not the order's own.
    *((order("paying"), stray(status, 1, FRESH), D.STRAY_AUTHORIZATION) for status in OPEN),
    (order("captured"), stray("requires_capture", 2, FRESH), D.STRAY_AUTHORIZATION),
    (order("declined", intent=None), stray("requires_capture", 2, FRESH), D.STRAY_AUTHORIZATION),
    (order("paying"), stray("requires_capture", 3, FRESH), None),
    (order("paying"), stray("requires_capture", 3), D.STRAY_AUTHORIZATION),
    (order("captured"), stray("canceled"), None),
    (order("captured"), stray("succeeded", 1, FRESH), D.STRAY_CHARGE),
    (order("paying"), stray("succeeded", 1), D.STRAY_CHARGE),
    (order("declined"), stray("succeeded", 3), D.CHARGE_OF_LATER_ATTEMPT),
    (order("declined"), stray("succeeded", 3, FRESH), None),
    # It is the order's own, whose id may not have reached us.
    (order("paying", intent=None), charge("requires_capture", FRESH), None),
    (order("paying", intent=None), charge("requires_capture"), D.PAYMENT_LEFT_LYING),
    (order("paying"), charge("requires_capture", FRESH), None),
    (order("paying"), charge("requires_capture"), D.PAYMENT_LEFT_LYING),
    (order("paying"), charge("canceled"), D.PAYMENT_LEFT_LYING),
    (order("paying"), charge("succeeded"), D.PAYMENT_LEFT_LYING),
    (order("paying"), charge("requires_action"), D.PAYMENT_LEFT_LYING),
    (order("paying", budget_until=NOW + 1), charge("requires_action"), None),
    (order("paying", budget_until=NOW + 1), charge("requires_capture"), D.PAYMENT_LEFT_LYING),
    (order("voiding"), charge("requires_capture", FRESH), None),
    (order("voiding"), charge("requires_capture"), D.PAYMENT_LEFT_LYING),
    (order("voiding", budget_until=NOW + 1), charge("requires_action"), D.PAYMENT_LEFT_LYING),
    (order("voiding"), charge("succeeded"), D.PAYMENT_LEFT_LYING),
    (order("committed"), charge("requires_capture", FRESH), None),
    (order("committed"), charge("requires_capture"), D.PAYMENT_LEFT_LYING),
    (order("committed"), charge("succeeded", FRESH), D.CAPTURE_NOT_MARKED),
    (order("committed", committed_at=NOW - UNMARKED_MS + 1), charge("succeeded"), None),
    (order("committed"), charge("canceled", FRESH), D.SOLD_BUT_CANCELED),
    (order("committed"), charge("requires_payment_method"), D.SOLD_BUT_CANCELED),
    (order("captured"), charge("succeeded"), None),
    (order("captured"), charge("canceled"), D.SOLD_WITHOUT_MONEY),
    (order("captured"), charge("requires_capture"), D.SOLD_WITHOUT_MONEY),
    (order("captured"), charge("succeeded", received=1499), D.AMOUNT_DIFFERS),
    (order("captured"), charge("succeeded", currency="USD"), D.AMOUNT_DIFFERS),
    (order("captured"), charge("succeeded", refunded=500), D.REFUNDS_DIFFER),
    (order("captured", refunds=(refund(500, "done"),)), charge("succeeded", refunded=500), None),
    (order("captured", refunds=(refund(500, "done"),)), charge("succeeded"), D.REFUNDS_DIFFER),
    (order("captured", refunds=(refund(500, "pending"),)), charge("succeeded"), None),
    (
        order("captured", refunds=(refund(500, "pending"),)),
        charge("succeeded", refunded=500),
        None,
    ),
    (
        order("captured", refunds=(refund(500, "failed"),)),
        charge("succeeded", refunded=500),
        D.REFUNDS_DIFFER,
    ),
    *((order(phase), charge("succeeded", FRESH), D.CAPTURED_WITHOUT_SALE) for phase in UNSOLD),
    *((order(phase), charge("succeeded", refunded=1500), None) for phase in UNSOLD),
    *((order(phase), charge("requires_capture"), D.AUTHORIZATION_WITHOUT_SALE) for phase in UNSOLD),
    *((order(phase), charge("canceled"), None) for phase in UNSOLD),
]


@pytest.mark.parametrize(("kept", "made", "difference"), TABLE)
def test_the_record_against_the_money(
    kept: Standing | None, made: Charge, difference: Difference | None
) -> None:
    assert of_charge(kept, made, NOW) is difference


def test_money_of_a_lost_record_whose_order_was_handed_on_is_left_alone() -> None:
    assert of_charge(None, charge("succeeded"), NOW, handed_on=True) is None
    lost = of_charge(None, charge("requires_capture"), NOW, handed_on=True)
    assert lost is Difference.AUTHORIZATION_OF_LOST_ORDER


OWN = frozenset({"evt_o_1"})
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("kept", "events", "difference"),
    [
        (order("committed"), OWN, None),
        (order("captured"), OWN | {"evt_o_2"}, None),
        (order("committed"), NONE, D.EVENT_MISSING),
        (order("captured", event_id="evt_o_2"), OWN, D.EVENT_MISSING),
        (None, OWN, D.EVENT_WITHOUT_RECORD),
        (None, NONE, None),
        (order("failed"), OWN, None),
        *((order(phase), OWN, D.EVENT_OF_UNSOLD_ORDER) for phase in ("paying", "voiding")),
        *((order(phase), OWN, D.EVENT_OF_UNSOLD_ORDER) for phase in ("declined", "voided")),
        *((order(phase), NONE, None) for phase in ("paying", "voiding", "declined", "voided")),
    ],
)
def test_the_record_against_the_stream(
    kept: Standing | None, events: frozenset[str], difference: Difference | None
) -> None:
    assert of_event(kept, events) is difference


def test_every_difference_has_a_row_and_a_repair() -> None:
    named = {difference for _, _, difference in TABLE}
    of_the_stream = {
        D.EVENT_MISSING, D.EVENT_DOUBLED, D.EVENT_WITHOUT_RECORD, D.EVENT_OF_UNSOLD_ORDER,
    }  # fmt: skip
    handed_on = {D.AUTHORIZATION_OF_LOST_ORDER}
    without_a_row = {D.RECORD_UNREADABLE, D.EVENT_UNREADABLE}
    assert named | of_the_stream | handed_on | without_a_row == {*Difference, None}
    assert REPAIRS.keys() == set(Difference)


def test_a_record_is_read_as_redis_keeps_it() -> None:
    values = {
        "phase": b"captured",
        "attempt": b"2",
        "amount": b"1500",
        "currency": b"EUR",
        "intent": b"pi_own",
        "committed_at": b"18",
        "budget_until": b"19",
        "event_id": b"evt_o_1",
        "refunds": b'[{"n":1,"amount":500,"state":"done","key":"k"}]',
    }
    assert standing([values[name] for name in STANDING_FIELDS]) == Standing(
        Phase.CAPTURED, 2, 1500, "EUR", "pi_own", 18, 19, "evt_o_1", (refund(500, "done"),)
    )
    assert standing([None] * len(STANDING_FIELDS)) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("phase", b"claimed"),
        ("phase", b"\xff"),
        ("amount", b"15 euros"),
        ("event_id", b"\xff"),
        ("refunds", b'[{"amount":500}]'),
        ("refunds", b"none"),
    ],
)
def test_a_record_that_makes_no_sense_is_no_crash(field: str, value: bytes) -> None:
    row: list[bytes | None] = [None] * len(STANDING_FIELDS)
    row[0] = b"captured"
    row[STANDING_FIELDS.index(field)] = value
    assert standing(row) == Unreadable(tuple(row))
