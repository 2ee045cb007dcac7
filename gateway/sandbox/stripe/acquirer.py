"""The bank behind the sandbox: it authorizes a card, or declines it."""

from gateway.sandbox.stripe import objects, refusal
from gateway.sandbox.stripe.bench import Bench
from gateway.sandbox.stripe.cards import BY_LAST4, GENERIC, Card, Decline
from gateway.sandbox.stripe.faults import Faults
from gateway.sandbox.stripe.store import Json


def card_of(method: Json) -> Card:
    """The test card behind a payment method of type card."""
    return BY_LAST4[method["card"]["last4"]]


def _is_captured_later(intent: Json, method: Json) -> bool:
    """What the intent says for this type of method goes before what it says for all."""
    own = intent["payment_method_options"].get(method["type"], {}).get("capture_method")
    chosen: str = own or intent["capture_method"]
    return chosen == "manual"


class Acquirer:
    """Makes the charges of PaymentIntents."""

    def __init__(self, bench: Bench, faults: Faults) -> None:
        self._bench = bench
        self._faults = faults

    def charge(self, endpoint: str, intent: Json, method: Json) -> Json:
        """The intent, authorized or paid; raises RefusedError (402) if the card is declined."""
        decline = card_of(method).decline
        if decline is None and self._faults.declines(endpoint):
            decline = GENERIC
        if decline is not None:
            raise self._declined(intent, method, decline)
        return self.approve(intent, method)

    def approve(self, intent: Json, method: Json) -> Json:
        """The intent, authorized or paid; the bank has said yes."""
        bench = self._bench
        manual = _is_captured_later(intent, method)
        charge = bench.store.add(
            objects.charge(bench.ids.new("ch"), intent, method, bench.now(), captured=not manual)
        )
        paid = bench.store.change(
            intent,
            status="requires_capture" if manual else "succeeded",
            amount_capturable=intent["amount"] if manual else 0,
            amount_received=0 if manual else intent["amount"],
            latest_charge=charge["id"],
            last_payment_error=None,
            next_action=None,
            payment_method=method["id"],
        )
        bench.journal.write("charge.succeeded", charge)
        changed = "amount_capturable_updated" if manual else "succeeded"
        bench.journal.write(f"payment_intent.{changed}", paid)
        return paid

    def _declined(self, intent: Json, method: Json, decline: Decline) -> refusal.RefusedError:
        bench = self._bench
        charge = bench.store.add(
            objects.charge(
                bench.ids.new("ch"),
                intent,
                method,
                bench.now(),
                captured=False,
                decline=decline,
            )
        )
        failed = bench.store.change(
            intent,
            status="requires_payment_method",
            latest_charge=charge["id"],
            last_payment_error=objects.payment_error(decline, method, charge["id"]),
            next_action=None,
            payment_method=None,
        )
        bench.journal.write("charge.failed", charge)
        bench.journal.write("payment_intent.payment_failed", failed)
        return refusal.declined(
            code=decline.code,
            message=decline.message,
            decline_code=decline.decline_code,
            param=decline.param,
            advice_code=decline.advice,
            charge=charge["id"],
            payment_intent=failed,
            payment_method=method,
        )
