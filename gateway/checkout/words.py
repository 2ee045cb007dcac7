"""What a shopper is told about a payment, in words a shopper understands. Pure."""

from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.errors import PaymentDeclined
from gateway.messages import CheckoutFrame, CheckoutState, Frame, OrderFrame

_DECLINES = {
    "insufficient_funds": "The card has not enough funds. Please try another card.",
    "expired_card": "The card has expired. Please try another card.",
    "incorrect_cvc": "The card's security code is wrong. Please check it and try again.",
    "invalid_cvc": "The card's security code is wrong. Please check it and try again.",
    "processing_error": "The bank could not process the card. Please try another card.",
    "payment_intent_authentication_failure": "The bank's confirmation failed. Please try again.",
    "authentication_required": "The bank asks for a confirmation. Please try again.",
    "amount_too_small": "This amount is too small to be paid by card.",
    "amount_too_large": "This amount is too large to be paid by card.",
    "invalid_payment_method": "This payment method cannot be used. Please try another one.",
}
_DECLINED = "The card was declined. Please try another card."

_ENDS = {
    "expired": ("hold_expired", "The time to pay is over. You were not charged."),
    "gone": (
        "hold_expired",
        "The time was over when your bank approved, and the units were gone. You were not charged.",
    ),
    "released": ("hold_already_released", "You gave it back. You were not charged."),
}
_GIVEN_BACK = (
    PaymentDeclined.code,
    "This was charged, but is not sold to you. All of it is given back to you.",
)
_NOT_CHARGED = (PaymentDeclined.code, "The payment did not go through. You were not charged.")


def checkout_frame(record: Record) -> CheckoutFrame:
    """Say how far a payment is."""
    match record.phase:
        case Phase.CAPTURED:
            return CheckoutFrame(hold=record.hold, state="confirmed", order=record.view)
        case Phase.VOIDED | Phase.FAILED | Phase.DECLINED if record.given_back:
            code, message = _GIVEN_BACK
            return CheckoutFrame(hold=record.hold, state="declined", code=code, message=message)
        case Phase.DECLINED:
            return CheckoutFrame(
                hold=record.hold,
                state="declined",
                code=PaymentDeclined.code,
                message=_DECLINES.get(record.decline_code or "", _DECLINED),
                decline_code=record.decline_code,
            )
        case Phase.VOIDED | Phase.FAILED:
            code, message = _ENDS.get(record.reason or "", _NOT_CHARGED)
            return CheckoutFrame(hold=record.hold, state="declined", code=code, message=message)
        case _:
            return _under_way(record)


def queued_frame(record: Record, position: int, eta_s: int) -> CheckoutFrame:
    """Say that a payment waits for its turn, and how long."""
    return CheckoutFrame(hold=record.hold, state="queued", position=position, eta_s=eta_s)


def frames(record: Record) -> tuple[Frame, ...]:
    """Everything there is to say about an order."""
    if record.phase is Phase.CAPTURED:
        return checkout_frame(record), OrderFrame(order=record.view)
    return (checkout_frame(record),)


def _under_way(record: Record) -> CheckoutFrame:
    """Also while it is voided: *not charged* is said when it is true."""
    state: CheckoutState = "processing"
    if record.phase is Phase.PAYING and record.pay_state == "requires_action":
        return CheckoutFrame(
            hold=record.hold, state="requires_action", client_secret=record.client_secret
        )
    if record.phase is Phase.PAYING and record.pay_state == "queued":
        state = "queued"
    return CheckoutFrame(hold=record.hold, state=state)
