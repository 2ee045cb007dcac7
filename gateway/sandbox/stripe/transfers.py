"""A transfer from the shopper's bank, as iDEAL makes it: taken at once, or known only later.

Cards answer at once. A transfer may stay under way (`processing`, its charge `pending`) until the
bank reports, and then it has succeeded or failed.
"""

from gateway.sandbox.stripe import objects
from gateway.sandbox.stripe.bench import Bench
from gateway.sandbox.stripe.store import Json


class Transfers:
    """Moves PaymentIntents whose method is a bank account."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def begin(self, intent: Json, method: Json) -> Json:
        """The shopper said yes, and the bank has not reported yet."""
        bench = self._bench
        charge = bench.store.add(
            objects.charge(
                bench.ids.new("ch"), intent, method, bench.now(), captured=False, pending=True
            )
        )
        under_way = bench.store.change(
            intent,
            status="processing",
            latest_charge=charge["id"],
            last_payment_error=None,
            next_action=None,
        )
        bench.journal.write("charge.pending", charge)
        bench.journal.write("payment_intent.processing", under_way)
        return under_way

    def arrive(self, intent: Json) -> Json:
        """The bank reports that the money has come."""
        amount = intent["amount"]
        charge = self._settle(intent, "succeeded", paid=True, captured=True, amount_captured=amount)
        paid = self._bench.store.change(intent, status="succeeded", amount_received=amount)
        self._bench.journal.write("charge.succeeded", charge)
        self._bench.journal.write("payment_intent.succeeded", paid)
        return paid

    def fail(self, intent: Json, method: Json) -> Json:
        """The bank reports that it will not come."""
        charge = self._settle(
            intent,
            "failed",
            failure_code=objects.TRANSFER_FAILED,
            failure_message=objects.TRANSFER_MESSAGE,
        )
        failed = self._bench.store.change(
            intent,
            status="requires_payment_method",
            last_payment_error=objects.transfer_error(method, charge["id"]),
            payment_method=None,
        )
        self._bench.journal.write("charge.failed", charge)
        self._bench.journal.write("payment_intent.payment_failed", failed)
        return failed

    def _settle(self, intent: Json, status: str, **members: object) -> Json:
        pending = self._bench.require("charge", intent["latest_charge"], "charge")
        return self._bench.store.change(pending, status=status, **members)
