"""The other side of a payment: what a test asks of the Stripe sandbox."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

_KEY = {"Authorization": "Bearer sk_test_0123456789abcdef"}

CREATE = "POST /v1/payment_intents"
CANCEL = "POST /v1/payment_intents/{id}/cancel"
CAPTURE = "POST /v1/payment_intents/{id}/capture"
REFUND = "POST /v1/refunds"

BACK = "https://shop.example/back"


@dataclass(frozen=True, slots=True)
class Bank:
    """One sandbox."""

    url: str

    async def fails(self, **plan: Any) -> None:
        """From now on things go wrong as planned; without a plan all is well."""
        await self._ask("POST", "/v1/sandbox/faults", json=plan)

    async def summary(self) -> Any:
        """Counts and amounts of everything the sandbox holds."""
        return await self._ask("GET", "/v1/sandbox/summary")

    async def intents(self, order: str) -> list[Any]:
        """The PaymentIntents of an order, newest first."""
        listed = await self._ask("GET", "/v1/payment_intents?limit=100")
        return [one for one in listed["data"] if one["metadata"].get("order") == order]

    async def since(self, created_s: int) -> list[Any]:
        """The PaymentIntents made since a second, newest first."""
        found: list[Any] = []
        while True:
            after = f"&starting_after={found[-1]['id']}" if found else ""
            path = f"/v1/payment_intents?limit=100&created[gte]={created_s}{after}"
            page = await self._ask("GET", path)
            found += page["data"]
            if not page["has_more"]:
                return found

    async def statuses(self, shop: str) -> Counter[str]:
        """How many PaymentIntents of a shop are in which status.

        A sweep looks after every shop of its Redis, also those that other tests have left.
        """
        found: Counter[str] = Counter()
        after = ""
        while True:
            page = await self._ask("GET", f"/v1/payment_intents?limit=100{after}")
            found.update(
                one["status"] for one in page["data"] if one["metadata"].get("shop") == shop
            )
            if not page["has_more"]:
                return found
            after = f"&starting_after={page['data'][-1]['id']}"

    async def token(self, method: str, return_url: str | None = BACK) -> str:
        """A confirmation token, as Stripe's form makes it in the page; `pm_ideal` works, too."""
        form = {"payment_method": method} | ({"return_url": return_url} if return_url else {})
        made = await self._ask("POST", "/v1/test_helpers/confirmation_tokens", data=form)
        return str(made["id"])

    async def second_step(self, client_secret: str, outcome: str = "succeed") -> None:
        """What the shopper does on the bank's page: `succeed`, `fail`, or for iDEAL `process`.

        What is processing is told `succeed` or `fail` in the same way, as the bank reports it.
        """
        intent = client_secret.partition("_secret_")[0]
        form = {"client_secret": client_secret, "outcome": outcome}
        await self._ask("POST", f"/v1/sandbox/payment_intents/{intent}/complete_action", data=form)

    async def refunds(self, intent: str) -> list[Any]:
        """The refunds of an intent, newest first."""
        listed = await self._ask("GET", f"/v1/refunds?payment_intent={intent}&limit=100")
        return list(listed["data"])

    async def refund_ends(self, refund: str, outcome: str = "succeed") -> None:
        """What becomes of a refund that is pending: `succeed` or `fail`."""
        await self._ask("POST", f"/v1/sandbox/refunds/{refund}/complete", data={"outcome": outcome})

    async def _ask(self, method: str, path: str, **content: Any) -> Any:
        # Reading the certificates of the world takes 0.1 s, and this is no TLS.
        async with httpx.AsyncClient(base_url=self.url, headers=_KEY, verify=False) as client:
            reply = await client.request(method, path, **content)
            assert reply.is_success, reply.text
            return reply.json()
