"""The PaymentIntent: its states, and what moves it from one to the next.

requires_payment_method -> requires_confirmation -> [requires_action] -> requires_capture
                                                                      -> [processing] -> succeeded
a decline, a failed second step or a failed transfer goes back to requires_payment_method;
everything but succeeded can still be canceled, and what is processing in rare cases only.
"""

from gateway.sandbox.stripe import money, objects, refusal
from gateway.sandbox.stripe.acquirer import Acquirer, card_of
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.faults import Faults
from gateway.sandbox.stripe.methods import Methods, require_one_way_to_pay
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.secondstep import SecondStep
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

_METHOD_NAMES = {"payment_method", "payment_method_data"}
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
_NO_WAY_BACK = (
    "This payment method sends your customer to a page of their bank: you must provide a "
    "`return_url` to which they come back."
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

    def __init__(
        self,
        bench: Bench,
        methods: Methods,
        acquirer: Acquirer,
        steps: SecondStep,
        faults: Faults,
    ) -> None:
        self._bench = bench
        self._methods = methods
        self._acquirer = acquirer
        self._steps = steps
        self._faults = faults

    def create(self, call: Call) -> Json:
        """POST /v1/payment_intents, with `confirm=true` the whole attempt at once."""
        given = call.params | {
            "currency": money.check(call.params["amount"], call.params["currency"])
        }
        _require_coherent(given)
        bench = self._bench
        identifier = bench.ids.new("pi")
        secret = bench.ids.secret(identifier)
        intent = objects.payment_intent(identifier, secret, bench.now(), given)
        _require_compatible(intent)
        # A token is for confirming; whatever else names a method puts it on file first.
        if _METHOD_NAMES & given.keys():
            _require_takes(intent, self._methods.kind(given, intent))
            method = self._methods.chosen(given, intent)
            intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
            given = {name: value for name, value in given.items() if name not in _METHOD_NAMES}
        bench.store.add(intent)
        bench.journal.write("payment_intent.created", intent)
        return self._attempt(call, intent, given) if given.get("confirm") else intent

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
            raise refusal.wrong_state(intent, "could not be confirmed", "confirmed", CONFIRMABLE)
        require_one_way_to_pay(call.params)
        changed = intent | _settled_on_confirming(intent, call.params)
        _require_compatible(changed)
        return self._attempt(call, changed, call.params)

    def capture(self, call: Call) -> Json:
        """POST /v1/payment_intents/{id}/capture: takes the money, all of it or a part."""
        intent = self._intent(call)
        if intent["status"] == "succeeded":
            raise refusal.unexpected_state(_REST_RELEASED, intent)
        if intent["status"] not in CAPTURABLE:
            raise refusal.wrong_state(intent, "could not be captured", "captured", CAPTURABLE)
        if self._faults.capture_loses(call.endpoint):
            with self._bench.journal.unasked():
                intent = self._release(intent, None)
            raise refusal.wrong_state(intent, "could not be captured", "captured", CAPTURABLE)
        held: int = intent["amount_capturable"]
        amount: int = call.params.get("amount_to_capture", held)
        if amount > held:
            raise refusal.invalid(_TOO_MUCH, code="amount_too_large", payment_intent=intent)
        return self._take(intent, amount, call.params.get("metadata", {}))

    def _take(self, intent: Json, amount: int, notes: Params) -> Json:
        bench = self._bench
        charge = bench.require("charge", intent["latest_charge"], "charge")
        captured = bench.store.change(charge, captured=True, amount_captured=amount)
        metadata = intent["metadata"] | notes
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
        if intent["status"] in CAPTURABLE and self._faults.cancel_loses(call.endpoint):
            with self._bench.journal.unasked():
                intent = self._take(intent, intent["amount_capturable"], {})
        rare = intent["status"] != "processing" or self._faults.plan.cancel_processing
        if intent["status"] not in CANCELABLE or not rare:
            # Stripe names processing among the states even where it refuses just that.
            message = (
                "You cannot cancel this PaymentIntent because it has a status of "
                f"{intent['status']}. Only a PaymentIntent with one of the following statuses may "
                f"be canceled: {', '.join(CANCELABLE)}."
            )
            raise refusal.unexpected_state(message, intent)
        return self._release(intent, call.params.get("cancellation_reason"))

    def _release(self, intent: Json, reason: str | None) -> Json:
        canceled = self._bench.store.change(
            intent,
            status="canceled",
            amount_capturable=0,
            canceled_at=self._bench.now(),
            cancellation_reason=reason,
            next_action=None,
        )
        self._bench.journal.write("payment_intent.canceled", canceled)
        return canceled

    def _intent(self, call: Call) -> Json:
        return self._bench.require("payment_intent", call.id, "intent")

    def _attempt(self, call: Call, intent: Json, given: Params) -> Json:
        """Try to pay `intent` with the method in `given`, else with the one it has."""
        return_url = self._methods.return_url(given)
        if return_url is None and _may_redirect(intent):
            raise refusal.invalid(_NO_RETURN_URL, payment_intent=intent)
        kind = self._methods.kind(given, intent)
        if kind is None:
            raise refusal.unexpected_state(_NO_METHOD, intent)
        _require_takes(intent, kind)
        if kind == "ideal" and return_url is None:
            raise refusal.invalid(_NO_WAY_BACK, param="return_url", payment_intent=intent)
        method = self._methods.chosen(given, intent)
        if kind == "ideal":
            return self._steps.ask(call, intent, method, return_url)
        if card_of(method).second_step or self._faults.asks(call.endpoint):
            in_place = given.get("use_stripe_sdk", "confirmation_token" in given)
            return self._steps.ask(call, intent, method, None if in_place else return_url)
        return self._acquirer.charge(call.endpoint, intent, method)


def _require_takes(intent: Json, kind: str | None) -> None:
    kinds = intent["payment_method_types"]
    if kind not in kinds:
        message = (
            f"This PaymentIntent cannot be paid with a PaymentMethod of type {kind}: it takes "
            f"{', '.join(kinds)}."
        )
        code = "payment_intent_incompatible_payment_method"
        raise refusal.invalid(message, code=code, param="payment_method")


def _require_coherent(given: Params) -> None:
    one, other = "automatic_payment_methods", "allowed_payment_method_types"
    if one in given and other in given:
        message = f"You may only specify one of these parameters: {one}, {other}."
        raise refusal.malformed(message, param=other)
    require_one_way_to_pay(given)
    if "confirmation_token" in given and not given.get("confirm"):
        message = "You cannot provide a confirmation_token unless you confirm at once."
        raise refusal.malformed(message, param="confirmation_token")


def _require_compatible(intent: Json) -> None:
    # Stripe leaves out of the list what does not fit the payment, and refuses if nothing is left.
    if not intent["payment_method_types"]:
        message = (
            "None of the allowed_payment_method_types can be used for this payment. This sandbox "
            f"models {', '.join(objects.MODELLED_TYPES)}; ideal takes euros and has no manual "
            "capture."
        )
        raise refusal.malformed(message, param="allowed_payment_method_types")


def _settled_on_confirming(intent: Json, given: Params) -> Json:
    """What confirming changes in an intent beside its state."""
    settled = ("capture_method", "receipt_email", "setup_future_usage")
    changes = {name: given[name] for name in settled if name in given}
    if "shipping" in given:
        changes["shipping"] = objects.shipping(given["shipping"])
    if "allowed_payment_method_types" in given:
        changes |= {
            "allowed_payment_method_types": given["allowed_payment_method_types"],
            "automatic_payment_methods": None,
        }
    after = intent | changes
    kinds = objects.compatible(
        after["allowed_payment_method_types"], after["currency"], after["capture_method"]
    )
    options = objects.method_options(
        kinds, intent["payment_method_options"], given.get("payment_method_options", {})
    )
    return changes | {"payment_method_types": kinds, "payment_method_options": options}


def _may_redirect(intent: Json) -> bool:
    automatic = intent["automatic_payment_methods"] or {}
    return bool(automatic.get("enabled")) and automatic["allow_redirects"] == "always"
