"""The recovery points of a payment. A crash between two of them is repaired from the record.

    paying ─► committed ─► captured     sold; the POS gets the order
     │ │ ▲      ▲  └─────► failed       the money could not be taken; units back on sale
     │ ▼ │      │
     │ declined │ ───────► voided       nothing was charged, or all of it is given back
     │          │             ▲
     └──────► voiding ────────┘         released, expired or not ours: first it is cancelled

A declined or voided order whose hold still lives may be paid anew, as the next attempt. An order
that is voided because its hold expired is sold after all if its bank approved meanwhile and the
units are still there. Only Lua moves a record along these edges (``order_move``, ``pay_begin``,
``hold_commit``, ``hold_again``, ``hold_release``, ``hold_expire``, ``order_fail``).
"""

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    """How far a payment is known to be."""

    PAYING = "paying"
    """An attempt is under way; the truth about the money is at Stripe."""
    DECLINED = "declined"
    """The attempt failed for good; another may follow while the hold lives."""
    COMMITTED = "committed"
    """The units are sold and the POS' entry is written; the money is still to be captured."""
    CAPTURED = "captured"
    """The money is ours."""
    FAILED = "failed"
    """The money could not be captured; the units went back on sale, unless they are another's."""
    VOIDING = "voiding"
    """The hold is gone; whatever was authorized is still to be cancelled."""
    VOIDED = "voided"
    """Nothing is authorized, and nothing is charged: if money was taken, it is given back."""


RESTING = frozenset({Phase.DECLINED, Phase.CAPTURED, Phase.FAILED, Phase.VOIDED})
"""Phases in which there is nothing for us to do."""

WHYS = frozenset(
    {
        *("released", "expired", "gone", "mismatch", "capture_refused", "sold_twice"),
        *("card_declined", "insufficient_funds", "expired_card", "incorrect_cvc", "fraudulent"),
        *("generic_decline", "do_not_honor", "processing_error", "authentication_required"),
        *("payment_intent_authentication_failure", "invalid_payment_method"),
    }
)
"""Why an order moved, in the words that are told apart when they are counted: ours, and the most
frequent of Stripe's many."""


def why_in_few_words(fields: Mapping[str, str]) -> str:
    """Why an order moves, by the fields kept with it, in a word fit for a label; often none."""
    why = fields.get("reason") or fields.get("decline_code") or ""
    return why if not why or why in WHYS else "other"
