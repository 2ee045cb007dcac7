"""The PaymentIntent: its states, and what moves it from one to the next.

requires_payment_method -> requires_confirmation -> [requires_action] -> requires_capture
                                                                      -> succeeded
a decline or a failed second step goes back to requires_payment_method;
everything but succeeded can still be canceled.
"""

import hmac
from collections.abc import Iterable
from urllib.parse import urlencode

from gateway.sandbox.stripe import money, objects, refusal
from gateway.sandbox.stripe.acquirer import Acquirer, card_of
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.methods import Methods
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.store import Json

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CAPTURABLE = ("requires_capture",)
CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
COMPLETABLE = ("requires_action",)

_NO_METHOD = (
    "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
    "update the PaymentIntent with a payment method and then confirm it again, or confirm it "
    "again directly with a payment method or ConfirmationToken."
)
_NO_RETURN_URL = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. "
    "Because some of these payment methods might redirect your customer off of your page, you "
    "must provide a `return_url`. If you don't want to accept redirect-based payment methods, set "
    "`automatic_payment_methods[enabled]` to `true` and "
    "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
    "Payment Intents."
)
_REST_RELEASED = (
    "The remaining amount on this PaymentIntent could not be captured because the remainder of "
    "the authorized amount has been released."
)
_TOO_MUCH = (
    "The payment could not be captured because the requested capture amount is greater than the "
    "amount you can capture for this charge."
)


class Intents:
    """The endpoints under /v1/payment_intents that act on one intent."""

    def __init__(self, bench: Bench, methods: Methods, acquirer: Acquirer) -> None:
        self._bench = bench
        self._methods = methods
        self._acquirer = acquirer

    def create(self, call: Call) -> Json:
        """POST /v1/payment_intents, with `confirm=true` the whole attempt at once."""
        given = call.params
        currency = money.check(given["amount"], given["currency"])
        _require_one_way_to_pay(given)
        bench = self._bench
        identifier = bench.ids.new("pi")
        intent = objects.payment_intent(
            identifier, bench.ids.secret(identifier), bench.now(), given | {"currency": currency}
        )
        if "payment_method" in given:
            method = self._methods.resolve(given["payment_method"])
            intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
        bench.store.add(intent)
        bench.journal.write("payment_intent.created", intent)
        if not given.get("confirm"):
            return intent
        return self._attempt(call, intent, given | _on_file(intent))

    def retrieve(self, call: Call) -> Json:
        """GET /v1/payment_intents/{id}."""
        return self._intent(call)

    def confirm(self, call: Call) -> Json:
        """POST /v1/payment_intents/{id}/confirm."""
        intent = self._intent(call)
        if intent["status"] == "succeeded":
            message = (
                "You cannot confirm this PaymentIntent because it has already succeeded after "
                "being previously confirmed."
            )
            raise refusal.unexpected_state(message, intent)
        if intent["status"] not in CONFIRMABLE:
            raise _wrong_state(intent, "could not be confirmed", "confirmed", CONFIRMABLE)
        _require_compatible(call.params)
        settled = ("capture_method", "receipt_email", "setup_future_usage")
        changes = {name: call.params[name] for name in settled if name in call.params}
        if "shipping" in call.params:
            changes["shipping"] = objects.shipping(call.params["shipping"])
        if "allowed_payment_method_types" in call.params:
            allowed = call.params["allowed_payment_method_types"]
            changes |= {
                "allowed_payment_method_types": allowed,
                "automatic_payment_methods": None,
                "payment_method_types": objects.compatible(allowed),
            }
        return self._attempt(call, intent | changes, _on_file(intent) | call.params)

    def capture(self, call: Call) -> Json:
        """POST /v1/payment_intents/{id}/capture: takes the money, all of it or a part."""
        intent = self._intent(call)
        if intent["status"] == "succeeded":
            raise refusal.unexpected_state(_REST_RELEASED, intent)
        if intent["status"] not in CAPTURABLE:
            raise _wrong_state(intent, "could not be captured", "captured", CAPTURABLE)
        amount = call.params.get("amount_to_capture", intent["amount_capturable"])
        if amount > intent["amount_capturable"]:
            raise refusal.invalid(_TOO_MUCH, code="amount_too_large", payment_intent=intent)
        bench = self._bench
        charge = bench.require("charge", intent["latest_charge"], "charge")
        captured = bench.store.change(charge, captured=True, amount_captured=amount)
        metadata = intent["metadata"] | call.params.get("metadata", {})
        paid = bench.store.change(
            intent,
            status="succeeded",
            amount_capturable=0,
            amount_received=amount,
            metadata={key: note for key, note in metadata.items() if note},
        )
        bench.journal.write("charge.captured", captured)
        bench.journal.write("payment_intent.succeeded", paid)
        return paid

    def cancel(self, call: Call) -> Json:
        """POST /v1/payment_intents/{id}/cancel: an authorization is let go, nothing is paid."""
        intent = self._intent(call)
        if intent["status"] not in CANCELABLE:
            message = (
                "You cannot cancel this PaymentIntent because it has a status of "
                f"{intent['status']}. Only a PaymentIntent with one of the following statuses may "
                f"be canceled: {', '.join(CANCELABLE)}."
            )
            raise refusal.unexpected_state(message, intent)
        canceled = self._bench.store.change(
            intent,
            status="canceled",
            amount_capturable=0,
            canceled_at=self._bench.now(),
            cancellation_reason=call.params.get("cancellation_reason"),
            next_action=None,
        )
        self._bench.journal.write("payment_intent.canceled", canceled)
        return canceled

    def complete_action(self, call: Call) -> Json:
        """The shopper's second step, as the bank's page would report it.

        Open to whoever knows the client secret. `outcome=fail` is an answer, not an error.
        """
        intent = self._intent(call)
        if not hmac.compare_digest(intent["client_secret"], call.params["client_secret"]):
            message = (
                "The client_secret provided does not match the client_secret associated with "
                "this PaymentIntent."
            )
            raise refusal.invalid(message, param="client_secret")
        if intent["status"] not in COMPLETABLE:
            raise _wrong_state(intent, "has no action to complete", "completed", COMPLETABLE)
        method = self._bench.require("payment_method", intent["payment_method"], "payment_method")
        if call.params["outcome"] == "succeed":
            return self._acquirer.charge(call.endpoint, intent, method)
        failed = self._bench.store.change(
            intent,
            status="requires_payment_method",
            last_payment_error=objects.authentication_error(method),
            next_action=None,
            payment_method=None,
        )
        self._bench.journal.write("payment_intent.payment_failed", failed)
        return failed

    def _intent(self, call: Call) -> Json:
        return self._bench.require("payment_intent", call.id, "intent")

    def _attempt(self, call: Call, intent: Json, given: Params) -> Json:
        """Try to pay `intent` with the method in `given`, else with the one it has."""
        return_url = self._methods.return_url(given)
        if return_url is None and _may_redirect(intent):
            raise refusal.invalid(_NO_RETURN_URL, payment_intent=intent)
        method = self._methods.chosen(given, intent)
        if method is None:
            raise refusal.unexpected_state(_NO_METHOD, intent)
        if not card_of(method).second_step:
            return self._acquirer.charge(call.endpoint, intent, method)
        in_place = given.get("use_stripe_sdk", "confirmation_token" in given)
        waiting = self._bench.store.change(
            intent,
            status="requires_action",
            next_action=_second_step(call, intent, None if in_place else return_url),
            payment_method=method["id"],
        )
        self._bench.journal.write("payment_intent.requires_action", waiting)
        return waiting


def _require_one_way_to_pay(given: Params) -> None:
    for one, other in (
        ("automatic_payment_methods", "allowed_payment_method_types"),
        ("confirmation_token", "payment_method"),
    ):
        if one in given and other in given:
            message = f"You may only specify one of these parameters: {one}, {other}."
            raise refusal.malformed(message, param=other)
    _require_compatible(given)
    if "confirmation_token" in given and not given.get("confirm"):
        message = "You cannot provide a confirmation_token unless you confirm at once."
        raise refusal.malformed(message, param="confirmation_token")


def _require_compatible(given: Params) -> None:
    # Stripe leaves out of the list what does not fit the payment, and refuses if nothing is left.
    if not objects.compatible(given.get("allowed_payment_method_types")):
        message = (
            "None of the allowed_payment_method_types can be used for this payment. This sandbox "
            f"models {' and '.join(objects.MODELLED_TYPES)}."
        )
        raise refusal.malformed(message, param="allowed_payment_method_types")


def _on_file(intent: Json) -> Params:
    method = intent["payment_method"]
    return {"payment_method": method} if method else {}


def _may_redirect(intent: Json) -> bool:
    automatic = intent["automatic_payment_methods"] or {}
    return bool(automatic.get("enabled")) and automatic["allow_redirects"] == "always"


def _second_step(call: Call, intent: Json, return_url: str | None) -> Json:
    query = {"client_secret": intent["client_secret"]}
    if return_url:
        query["return_url"] = return_url
    page = f"{call.base_url}v1/sandbox/payment_intents/{intent['id']}/second_step"
    url = f"{page}?{urlencode(query)}"
    return objects.redirect(url, return_url) if return_url else objects.stripe_js_step(url)


def _wrong_state(
    intent: Json, what: str, verb: str, allowed: Iterable[str]
) -> refusal.RefusedError:
    message = (
        f"This PaymentIntent {what} because it has a status of {intent['status']}. Only a "
        f"PaymentIntent with one of the following statuses may be {verb}: {', '.join(allowed)}."
    )
    return refusal.unexpected_state(message, intent)
