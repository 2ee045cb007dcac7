"""What a shopper is told about a payment."""

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.checkout.words import checkout_frame
from gateway.messages import encode
from gateway.model import Contact, Fulfillment, Line, Money

RECORD = Record(
    order="o_1",
    phase=Phase.PAYING,
    attempt=1,
    token="pm_card_visa",
    token_kind="payment_method",
    hold="h_1",
    shopper="ann",
    show="tonight",
    amount=1500,
    currency="EUR",
    lines=(Line("tee", 1, Money(1500, "EUR"), "main"),),
    fulfillment=Fulfillment(),
    contact=Contact("ann@example.com"),
    attempt_at=0,
    budget_until=0,
    intent="pi_1",
    client_secret="pi_1_secret_2",
)


def at(phase: Phase, **fields: str) -> Record:
    return msgspec.structs.replace(RECORD, phase=phase, **fields)


def test_a_payment_under_way() -> None:
    for record in (at(Phase.PAYING), at(Phase.PAYING, pay_state="processing")):
        frame = checkout_frame(record)
        assert (frame.hold, frame.state, frame.client_secret) == ("h_1", "processing", None)


def test_a_second_step_carries_the_secret_the_page_needs() -> None:
    frame = checkout_frame(at(Phase.PAYING, pay_state="requires_action"))
    assert (frame.state, frame.client_secret) == ("requires_action", "pi_1_secret_2")


def test_sold_but_not_yet_captured_is_not_confirmed() -> None:
    assert checkout_frame(at(Phase.COMMITTED)).state == "processing"


def test_a_confirmed_payment_carries_the_order() -> None:
    frame = checkout_frame(at(Phase.CAPTURED))
    assert frame.state == "confirmed"
    assert frame.order is not None
    assert (frame.order.id, frame.order.state) == ("o_1", "confirmed")
    assert (frame.order.total, frame.order.lines) == (Money(1500, "EUR"), RECORD.lines)


@pytest.mark.parametrize("code", ["insufficient_funds", "expired_card", "a_new_code", ""])
def test_a_decline_says_so_in_words_and_in_the_providers_code(code: str) -> None:
    frame = checkout_frame(at(Phase.DECLINED, decline_code=code))
    assert (frame.state, frame.code, frame.decline_code) == ("declined", "payment_declined", code)
    assert frame.message
    assert frame.message.endswith(("again.", "card.", "one."))
    assert code == "" or code not in frame.message


def test_a_decline_without_a_reason() -> None:
    assert checkout_frame(at(Phase.DECLINED)).message


@pytest.mark.parametrize("phase", [Phase.VOIDED, Phase.FAILED])
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("expired", "hold_expired"),
        ("released", "hold_already_released"),
        ("capture_refused", "payment_declined"),
        ("mismatch", "payment_declined"),
        ("sold_twice", "payment_declined"),
    ],
)
def test_whoever_gets_nothing_hears_that_nothing_was_charged(
    phase: Phase, reason: str, code: str
) -> None:
    frame = checkout_frame(at(phase, reason=reason))
    assert (frame.state, frame.code) == ("declined", code)
    assert frame.message
    assert "not charged" in frame.message


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_words_and_shows_no_more_than_its_shopper_may_see(phase: Phase) -> None:
    said = encode(checkout_frame(at(phase, reason="mismatch", pay_state="processing"))).decode()
    for secret in ("pi_1", "pm_card_visa", "ann@example.com", "mismatch"):
        assert secret not in said
