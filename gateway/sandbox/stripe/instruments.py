"""What a shopper pays with, as JSON: a card, or a bank account through iDEAL.

Each looks one way as a stored payment method and another way on the charge it paid.
"""

import hashlib

from gateway.sandbox.stripe.cards import Card
from gateway.sandbox.stripe.store import Json

IDEAL_METHOD = "pm_ideal"
"""Stands for a new iDEAL payment method, as pm_card_visa stands for a new card."""

NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))

_EXPIRES = (12, 2034)
_BANK = {"bank": "ing", "bic": "INGBNL2A"}


def card_method(identifier: str, card: Card, created: int) -> Json:
    """A card, ready to be charged once."""
    return _method(identifier, "card", _card_on_file(card), created)


def ideal_method(identifier: str, created: int) -> Json:
    """A bank account whose owner will be asked on the bank's own page."""
    return _method(identifier, "ideal", dict(_BANK), created)


def as_charged(method: Json, amount: int, charge: str) -> Json:
    """`payment_method_details` of a charge: what it was paid with."""
    kind = method["type"]
    details = _card_as_charged(method, amount) if kind == "card" else _ideal_as_charged(charge)
    return {kind: details, "type": kind}


def _method(identifier: str, kind: str, details: Json, created: int) -> Json:
    return {
        "id": identifier,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _billing_details(),
        kind: details,
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
    }


def _billing_details() -> Json:
    return {"address": NO_ADDRESS, "email": None, "name": None, "phone": None, "tax_id": None}


def _fingerprint(card: Card) -> str:
    return hashlib.sha256(card.last4.encode()).hexdigest()[:16]


def _card_on_file(card: Card) -> Json:
    month, year = _EXPIRES
    return {
        "brand": card.brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": "US",
        "display_brand": card.brand,
        "exp_month": month,
        "exp_year": year,
        "fingerprint": _fingerprint(card),
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def _card_as_charged(method: Json, amount: int) -> Json:
    kept = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding")
    card = method["card"]
    return {name: card[name] for name in (*kept, "last4", "regulated_status")} | {
        "amount_authorized": amount,
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "three_d_secure": None,
        "transaction_link_id": None,
        "wallet": None,
    }


def _ideal_as_charged(charge: str) -> Json:
    return _BANK | {
        "generated_sepa_debit": None,
        "generated_sepa_debit_mandate": None,
        "iban_last4": "5264",
        "transaction_id": charge[-16:],
        "verified_name": None,
    }
