"""Stripe's test cards: which pm_card_* exist, and what the bank says to each.

The last four digits decide, as the card's number does at Stripe, so a stored payment method
needs nothing beside what it shows.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a card is refused, in Stripe's codes, and one sentence for the shopper."""

    code: str
    decline_code: str
    message: str
    param: str | None = None
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A test card. `second_step` asks the shopper first; `decline` is the answer after that."""

    last4: str
    brand: str = "visa"
    funding: str = "credit"
    second_step: bool = False
    decline: Decline | None = None


GENERIC = Decline(
    "card_declined", "generic_decline", "Your card was declined.", advice="try_again_later"
)
_FUNDS = Decline(
    "card_declined",
    "insufficient_funds",
    "Your card has insufficient funds.",
    advice="try_again_later",
)
_LOST = Decline("card_declined", "lost_card", "Your card was declined.", advice="do_not_try_again")
_STOLEN = Decline(
    "card_declined", "stolen_card", "Your card was declined.", advice="do_not_try_again"
)
_FRAUD = Decline("card_declined", "fraudulent", "Your card was declined.")
_VELOCITY = Decline(
    "card_declined",
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its "
    "amount limit.",
)
_EXPIRED = Decline(
    "expired_card",
    "expired_card",
    "Your card has expired.",
    param="exp_month",
    advice="confirm_card_data",
)
_CVC = Decline(
    "incorrect_cvc",
    "incorrect_cvc",
    "Your card's security code is incorrect.",
    param="cvc",
    advice="confirm_card_data",
)
_PROCESSING = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    advice="try_again_later",
)

_DECLINED = {
    "": Card("0002", decline=GENERIC),
    "InsufficientFunds": Card("9995", decline=_FUNDS),
    "LostCard": Card("9987", decline=_LOST),
    "StolenCard": Card("9979", decline=_STOLEN),
    "ExpiredCard": Card("0069", decline=_EXPIRED),
    "IncorrectCvc": Card("0127", decline=_CVC),
    "ProcessingError": Card("0119", decline=_PROCESSING),
    "VelocityLimitExceeded": Card("6975", decline=_VELOCITY),
    "Fraudulent": Card("0019", decline=_FRAUD),
}

TEST_METHODS: dict[str, Card] = {
    "pm_card_visa": Card("4242"),
    "pm_card_visa_debit": Card("5556", funding="debit"),
    "pm_card_mastercard": Card("4444", "mastercard"),
    "pm_card_mastercard_debit": Card("8210", "mastercard", "debit"),
    "pm_card_amex": Card("0005", "amex"),
    "pm_card_discover": Card("1117", "discover"),
    "pm_card_jcb": Card("0505", "jcb"),
    "pm_card_authenticationRequired": Card("3184", second_step=True),
    "pm_card_authenticationRequiredOnSetup": Card("3155", second_step=True),
    "pm_card_threeDSecure2Required": Card("3220", second_step=True),
    "pm_card_threeDSecureRequired": Card("3063", second_step=True),
    "pm_card_threeDSecureRequiredChargeDeclined": Card("1629", second_step=True, decline=GENERIC),
    "pm_card_threeDSecureRequiredProcessingError": Card(
        "1280", second_step=True, decline=_PROCESSING
    ),
    # Stripe lists some declines with `visa_` and some without; either spelling is let in.
    **{f"pm_card_chargeDeclined{why}": card for why, card in _DECLINED.items()},
    **{f"pm_card_visa_chargeDeclined{why}": card for why, card in _DECLINED.items()},
}

BY_LAST4 = {card.last4: card for card in TEST_METHODS.values()}
