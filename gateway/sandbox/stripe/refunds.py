"""Money back: once, and never more than was captured."""

from gateway.sandbox.stripe import money, objects, refusal
from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.faults import Faults
from gateway.sandbox.stripe.params import Params
from gateway.sandbox.stripe.store import Json

_COMPLETABLE = {"succeed": ("pending",), "fail": ("pending", "succeeded")}


class Refunds:
    """The endpoints under /v1/refunds that act on one refund."""

    def __init__(self, bench: Bench, faults: Faults) -> None:
        self._bench = bench
        self._faults = faults

    def create(self, call: Call) -> Json:
        """POST /v1/refunds: `amount`, or all that is left, back to where it came from."""
        bench = self._bench
        charge = self._charge(call.params)
        left = charge["amount_captured"] - charge["amount_refunded"]
        if left == 0:
            message = f"Charge {charge['id']} has already been refunded."
            raise refusal.invalid(message, code="charge_already_refunded")
        amount = call.params.get("amount", left)
        if amount > left:
            currency = charge["currency"]
            message = (
                f"Refund amount ({money.spell(amount, currency)}) is greater than unrefunded "
                f"amount on charge ({money.spell(left, currency)})"
            )
            raise refusal.invalid(message, param="amount")
        refund = bench.store.add(
            objects.refund(
                bench.ids.new("re"),
                charge,
                amount,
                bench.now(),
                call.params,
                pending=self._faults.delays_refund(call.endpoint),
            )
        )
        refunded = bench.store.change(
            charge,
            amount_refunded=charge["amount_refunded"] + amount,
            refunded=amount == left,
        )
        bench.journal.write("refund.created", refund)
        bench.journal.write("charge.refunded", refunded)
        return refund

    def retrieve(self, call: Call) -> Json:
        """GET /v1/refunds/{id}."""
        return self._refund(call)

    def update(self, call: Call) -> Json:
        """POST /v1/refunds/{id}: the caller's notes are all that can be changed."""
        refund = self._refund(call)
        notes = refund["metadata"] | call.params.get("metadata", {})
        return self._updated(refund, metadata={key: note for key, note in notes.items() if note})

    def complete(self, call: Call) -> Json:
        """What became of a refund, as the shopper's bank would report it.

        One that has succeeded may still fail: the bank sends it back, and the shop has the money.
        """
        refund = self._refund(call)
        outcome = call.params["outcome"]
        if refund["status"] not in _COMPLETABLE[outcome]:
            message = f"Refund {refund['id']} has a status of {refund['status']}: it is settled."
            raise refusal.invalid(message)
        if outcome == "succeed":
            return self._updated(refund, status="succeeded", pending_reason=None)
        charge = self._bench.require("charge", refund["charge"], "charge")
        self._bench.store.change(
            charge, amount_refunded=charge["amount_refunded"] - refund["amount"], refunded=False
        )
        failed = self._updated(
            refund, status="failed", pending_reason=None, failure_reason="declined"
        )
        self._bench.journal.write("refund.failed", failed)
        return failed

    def _refund(self, call: Call) -> Json:
        return self._bench.require("refund", call.id, "refund")

    def _updated(self, refund: Json, **members: object) -> Json:
        updated = self._bench.store.change(refund, **members)
        self._bench.journal.write("refund.updated", updated)
        return updated

    def _charge(self, given: Params) -> Json:
        bench = self._bench
        if ("charge" in given) == ("payment_intent" in given):
            message = "One of the following params should be provided: payment_intent or charge."
            raise refusal.malformed(message, code="parameter_missing", param="payment_intent")
        identifier = given.get("charge")
        if identifier is None:
            intent = bench.require("payment_intent", given["payment_intent"], "payment_intent")
            identifier = intent["latest_charge"] or ""
        charge = bench.store.get("charge", identifier)
        if charge is None and "charge" in given:
            raise refusal.no_such("charge", identifier, "charge")
        if charge is None or not charge["paid"]:
            shown = given.get("payment_intent") or identifier
            message = f"This PaymentIntent ({shown}) does not have a successful charge to refund."
            raise refusal.invalid(message)
        if not charge["captured"]:
            message = (
                f"Charge {charge['id']} has not been captured. Nothing was taken, so there is "
                "nothing to refund: cancel the PaymentIntent instead."
            )
            raise refusal.invalid(message)
        return charge
