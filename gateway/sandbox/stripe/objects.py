"""The JSON of every resource, member by member as Stripe shows it.

The SDK's generated types and Stripe's own example resources are the contract; a test holds every
object against both. Times are whole seconds since 1970, amounts are minor units.
"""

from collections.abc import Mapping
from typing import Any

from gateway.sandbox.stripe.cards import Decline
from gateway.sandbox.stripe.instruments import NO_ADDRESS, as_charged
from gateway.sandbox.stripe.refusal import DOCS
from gateway.sandbox.stripe.store import Json

API_VERSION = "2026-10-28.endive"
"""The version the SDK in use speaks; a test keeps the two equal."""

MODELLED_TYPES = ("card", "link", "ideal")
"""Link rides on cards; iDEAL stands for all that cannot be captured later."""
UNASKED_TYPES = ("card", "link")
"""What this account has switched on: the rest is offered only where it is asked for by name."""

TOKEN_LIFE_S = 12 * 3600
TRANSFER_FAILED = "payment_method_provider_decline"
TRANSFER_MESSAGE = "The payment was declined by the customer's bank."


def confirmation_token(
    identifier: str, method: Json, created: int, given: Mapping[str, Any]
) -> Json:
    """What the shopper's page collected; good for one PaymentIntent."""
    sent_to = shipping(given.get("shipping")) or {}
    preview = {
        name: method[name]
        for name in ("allow_redisplay", "billing_details", method["type"], "customer", "type")
    }
    return {
        "id": identifier,
        "object": "confirmation_token",
        "created": created,
        "expires_at": created + TOKEN_LIFE_S,
        "livemode": False,
        "mandate_data": None,
        "payment_intent": None,
        "payment_method_options": None,
        "payment_method_preview": preview | {"customer_account": None},
        "return_url": given.get("return_url"),
        "setup_future_usage": given.get("setup_future_usage"),
        "setup_intent": None,
        "shipping": {name: sent_to[name] for name in ("address", "name", "phone")}
        if sent_to
        else None,
        "use_stripe_sdk": True,
    }


def shipping(given: Mapping[str, Any] | None) -> Json | None:
    """An address with every member, those not given as null."""
    if given is None:
        return None
    names = ("carrier", "name", "phone", "tracking_number")
    address = NO_ADDRESS | dict(given.get("address") or {})
    return {"address": address} | {name: given.get(name) for name in names}


def compatible(allowed: list[str] | None, currency: str, capture_method: str) -> list[str]:
    """The modelled payment method types that fit a payment; `allowed` None leaves the choice to us.

    iDEAL moves euros and takes them at once: it has no manual capture.
    """
    wanted = UNASKED_TYPES if allowed is None else allowed
    fits_ideal = currency == "eur" and capture_method != "manual"
    return [kind for kind in MODELLED_TYPES if kind in wanted and (kind != "ideal" or fits_ideal)]


def method_options(kinds: list[str], *given: Mapping[str, Any]) -> Json:
    """`payment_method_options` of an intent for `kinds`; later ones win, and None unsets."""
    options: Json = {"card": {"request_three_d_secure": "automatic"}}
    if "ideal" in kinds:
        options["ideal"] = {}
    for layer in given:
        for kind, members in layer.items():
            merged = options.get(kind, {}) | members
            options[kind] = {name: value for name, value in merged.items() if value is not None}
    return options


def payment_intent(identifier: str, secret: str, created: int, given: Mapping[str, Any]) -> Json:
    """A payment to be made, before any attempt; `given` are the checked parameters."""
    allowed = given.get("allowed_payment_method_types")
    automatic = None
    if allowed is None:
        chosen = given.get("automatic_payment_methods", {"enabled": True})
        automatic = {"allow_redirects": "always"} | chosen
    capture_method = given.get("capture_method", "automatic_async")
    kinds = compatible(allowed, given["currency"], capture_method)
    return {
        "id": identifier,
        "object": "payment_intent",
        "allowed_payment_method_types": allowed,
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": capture_method,
        "client_secret": secret,
        "confirmation_method": "automatic",
        "created": created,
        "currency": given["currency"],
        "customer": None,
        "customer_account": None,
        "description": given.get("description"),
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {key: note for key, note in given.get("metadata", {}).items() if note},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": method_options(kinds, given.get("payment_method_options", {})),
        "payment_method_types": kinds,
        "processing": None,
        "receipt_email": given.get("receipt_email"),
        "review": None,
        "setup_future_usage": given.get("setup_future_usage"),
        "shipping": shipping(given.get("shipping")),
        "source": None,
        "statement_descriptor": given.get("statement_descriptor"),
        "statement_descriptor_suffix": given.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def redirect(url: str, return_url: str) -> Json:
    """A second step on a page of the bank's, which sends the shopper back."""
    return {"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": return_url}}


def stripe_js_step(url: str) -> Json:
    """A second step Stripe.js would show in place."""
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url},
    }


def payment_error(decline: Decline, method: Json, charge: str) -> Json:
    """`last_payment_error` after a decline."""
    error = {
        "advice_code": decline.advice,
        "charge": charge,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": DOCS + decline.code.replace("_", "-"),
        "message": decline.message,
        "param": decline.param,
        "payment_method": method,
        "payment_method_type": method["type"],
        "type": "card_error",
    }
    return {name: part for name, part in error.items() if part is not None}


def authentication_error(method: Json) -> Json:
    """`last_payment_error` after the shopper failed the second step."""
    return _method_error(
        "payment_intent_authentication_failure",
        "The provided PaymentMethod has failed authentication. You can provide "
        "payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent "
        "again.",
        method,
    )


def transfer_error(method: Json, charge: str) -> Json:
    """`last_payment_error` after a bank let a transfer fail that was under way."""
    return _method_error(TRANSFER_FAILED, TRANSFER_MESSAGE, method) | {"charge": charge}


def _method_error(code: str, message: str, method: Json) -> Json:
    return {
        "code": code,
        "doc_url": DOCS + code.replace("_", "-"),
        "message": message,
        "payment_method": method,
        "payment_method_type": method["type"],
        "type": "invalid_request_error",
    }


def outcome(decline: Decline | None) -> Json:
    """What the network said to a charge."""
    said_no = decline is not None
    message = (
        "The bank did not return any further details with this decline."
        if said_no
        else "Payment complete."
    )
    return {
        "advice_code": decline.advice if decline else None,
        "network_advice_code": None,
        "network_decline_code": "05" if said_no else None,
        "network_status": "declined_by_network" if said_no else "approved_by_network",
        "reason": decline.decline_code if decline else None,
        "seller_message": message,
        "type": "issuer_declined" if said_no else "authorized",
    }


def charge(
    identifier: str,
    intent: Json,
    method: Json,
    created: int,
    *,
    captured: bool,
    pending: bool = False,
    decline: Decline | None = None,
) -> Json:
    """One attempt to take the money of `intent` from `method`; `pending` while nobody knows."""
    amount = intent["amount"]
    status = "pending" if pending else "failed" if decline else "succeeded"
    return {
        "id": identifier,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if captured else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": intent["statement_descriptor"],
        "captured": captured,
        "created": created,
        "currency": intent["currency"],
        "customer": None,
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": outcome(decline),
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": as_charged(method, amount, identifier),
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": status,
        "transfer_data": None,
        "transfer_group": None,
    }


def refund(
    identifier: str,
    of: Json,
    amount: int,
    created: int,
    given: Mapping[str, Any],
    *,
    pending: bool = False,
) -> Json:
    """Money on its way back to where the charge `of` took it; `pending` until it has arrived."""
    by_card = of["payment_method_details"]["type"] == "card"
    return {
        "id": identifier,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": of["id"],
        "created": created,
        "currency": of["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"} if by_card else None,
        "metadata": {key: note for key, note in given.get("metadata", {}).items() if note},
        "payment_intent": of["payment_intent"],
        "pending_reason": "processing" if pending else None,
        "reason": given.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if pending else "succeeded",
        "transfer_reversal": None,
    }


def event(
    identifier: str, kind: str, resource: Json, created: int, request: Json, *, pending: int
) -> Json:
    """`resource` as it was when `kind` happened, for webhooks and the event list."""
    return {
        "id": identifier,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": {"object": resource},
        "livemode": False,
        "pending_webhooks": pending,
        "request": request,
        "type": kind,
    }
