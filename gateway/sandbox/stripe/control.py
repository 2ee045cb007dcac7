"""What tests and the demo ask of the sandbox, beside what they could ask Stripe."""

from dataclasses import asdict

from gateway.sandbox.stripe.bench import Bench, Call
from gateway.sandbox.stripe.store import Json
from gateway.sandbox.stripe.webhooks import Webhooks


class Control:
    """Figures over everything the sandbox holds."""

    def __init__(self, bench: Bench, webhooks: Webhooks) -> None:
        self._store = bench.store
        self._started = bench.now()
        self._webhooks = webhooks

    def account(self, call: Call) -> Json:  # noqa: ARG002 - every endpoint is given its call
        """GET /v1/account: the one there is."""
        return {
            "id": "acct_1HoldfastSandbox",
            "object": "account",
            "business_type": "company",
            "capabilities": {"card_payments": "active", "transfers": "active"},
            "charges_enabled": True,
            "country": "US",
            "created": self._started,
            "default_currency": "usd",
            "details_submitted": True,
            "email": "shop@example.com",
            "metadata": {},
            "payouts_enabled": True,
            "type": "standard",
        }

    def balance(self, call: Call) -> Json:  # noqa: ARG002 - every endpoint is given its call
        """GET /v1/balance: captured less refunded, by currency."""
        amounts = _by_currency(self._store.tally("charge", "amount_captured"))
        for _, currency, _, refunded in self._store.tally("charge", "amount_refunded"):
            amounts[currency] -= refunded
        return _balance(amounts or {"usd": 0})

    def summary(self, call: Call) -> Json:  # noqa: ARG002 - every endpoint is given its call
        """GET /v1/sandbox/summary: counts, and amounts by currency in minor units."""
        received = self._store.tally("payment_intent", "amount_received")
        capturable = self._store.tally("payment_intent", "amount_capturable")
        statuses: dict[str, int] = {}
        for status, _, count, _ in received:
            statuses[status] = statuses.get(status, 0) + count
        return {
            "object": "sandbox.summary",
            "payment_intents": statuses,
            "captured": _totals([row for row in received if row[0] == "succeeded"]),
            "open_authorizations": _totals(
                [row for row in capturable if row[0] == "requires_capture"]
            ),
            "refunds": _totals(
                [row for row in self._store.tally("refund", "amount") if row[0] != "failed"]
            ),
            "webhooks": {"waiting": self._webhooks.waiting, **asdict(self._webhooks.tally)},
        }


_Row = tuple[str, str, int, int]


def _totals(rows: list[_Row]) -> Json:
    return {"count": sum(count for _, _, count, _ in rows), "amount": _by_currency(rows)}


def _by_currency(rows: list[_Row]) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for _, currency, _, amount in rows:
        amounts[currency] = amounts.get(currency, 0) + amount
    return amounts


def _balance(amounts: dict[str, int]) -> Json:
    """Nothing is ever paid out, so all of it is available."""
    available = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted(amounts.items())
    ]
    pending = [part | {"amount": 0, "source_types": {"card": 0}} for part in available]
    return {"object": "balance", "available": available, "livemode": False, "pending": pending}
