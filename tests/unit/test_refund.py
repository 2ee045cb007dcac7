"""What a refund is, and what it makes of an order."""

from typing import Any

import msgspec
import pytest

from gateway.checkout.refund import Kept, Refund, RefundRequest, next_version, refund_id
from gateway.errors import Invalid
from gateway.model import Line, Money, Order
from tests.sales import event_of

NOW = "2026-11-22T08:00:00.000Z"
SHIRTS = event_of("acme", "o_1").data
TOTAL = SHIRTS.total.amount
PRICE = TOTAL // 2


def request(**fields: Any) -> RefundRequest:
    return msgspec.convert(fields, RefundRequest)


def refund(n: int, amount: int, units: int = 0, **facts: Any) -> Refund:
    lines = (Line("shirt-m", units, Money(PRICE, "USD"), "main"),) if units else ()
    said: dict[str, Any] = {"state": "done", "restock": bool(units), **facts}
    return Refund(n=n, key=f"k{n}", fingerprint="f", amount=amount, lines=lines, **said)


def after(
    *earlier: Refund, then: Refund, handed_over: bool = False, order: Order = SHIRTS
) -> Order:
    kept = Kept(order, (*earlier, then))
    return next_version(kept, then, "re_1", NOW, handed_over=handed_over)


MONEY = {"amount": 1, "currency": "USD"}
LINES = [{"sku": "shirt-m", "quantity": 1}]


@pytest.mark.parametrize(
    ("fields", "restocks"),
    [
        ({}, True),
        ({"lines": LINES}, True),
        ({"lines": LINES, "amount": MONEY}, True),
        ({"amount": MONEY}, False),
        ({"lines": LINES, "restock": False}, False),
        ({"restock": False}, False),
    ],
)
def test_units_go_back_where_there_are_any_unless_it_is_said(
    fields: dict[str, Any], *, restocks: bool
) -> None:
    request(**fields).check()
    assert request(**fields).restocks is restocks


def test_a_request_is_the_same_with_what_goes_without_saying() -> None:
    assert request().fingerprint == request(restock=True).fingerprint
    others: list[dict[str, Any]] = [
        {},
        {"restock": False},
        {"amount": MONEY},
        {"lines": LINES},
        {"reason": "x"},
    ]
    assert len({request(**fields).fingerprint for fields in others}) == len(others)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"amount": {"amount": 0, "currency": "USD"}}, "amount"),
        ({"amount": MONEY, "restock": True}, "restock"),
        ({"lines": LINES * 2}, "lines"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        request(**fields).check()


def test_a_misspelt_field_does_not_refund_everything() -> None:
    with pytest.raises(msgspec.ValidationError):
        request(ammount=MONEY)


def test_the_next_version_tells_of_the_refund_and_changes_nothing_that_was_sold() -> None:
    order = after(then=refund(1, 100, reason="Late."))
    assert (order.order_version, order.state) == (2, "partially_refunded")
    assert (order.recorded_at, order.occurred_at) == (NOW, SHIRTS.occurred_at)
    assert (order.lines, order.total) == (SHIRTS.lines, SHIRTS.total)
    (told,) = order.refunds
    assert (told.id, told.amount, told.reason) == (refund_id("o_1", 1), Money(100, "USD"), "Late.")
    assert (told.reference, told.restocked, told.recorded_at) == ("re_1", False, NOW)


PARTS = (refund(1, PRICE, 1), refund(2, PRICE, 1))


@pytest.mark.parametrize(
    ("earlier", "then", "state"),
    [
        ((), refund(1, TOTAL - 1, 2), "partially_refunded"),
        ((), refund(1, TOTAL, 2), "canceled"),
        ((), refund(1, TOTAL, 2, restock=False), "refunded"),
        ((), refund(1, TOTAL), "refunded"),
        (PARTS[:1], PARTS[1], "canceled"),
        ((refund(1, PRICE, 1, handed_over=True),), PARTS[1], "refunded"),
        ((refund(1, PRICE, 1, state="failed"),), PARTS[1], "partially_refunded"),
        ((refund(1, PRICE, 1, state="pending"),), PARTS[1], "partially_refunded"),
    ],
)
def test_the_state_of_an_order(earlier: tuple[Refund, ...], then: Refund, state: str) -> None:
    then = msgspec.structs.replace(then, state="pending")
    order = after(*earlier, then=then)
    assert order.state == state
    assert order.fulfillment.state == ("canceled" if state == "canceled" else "proposed")


def test_an_order_that_was_handed_over_is_not_canceled() -> None:
    whole = refund(1, TOTAL, 2)
    assert after(then=whole, handed_over=True).state == "refunded"
    done = msgspec.structs.replace(SHIRTS.fulfillment, state="completed")
    completed = msgspec.structs.replace(SHIRTS, fulfillment=done)
    order = after(then=whole, order=completed)
    assert (order.state, order.fulfillment.state) == ("refunded", "completed")


def test_an_id_is_an_id() -> None:
    assert refund_id("o_abc", 100) == "r_abc_100"
