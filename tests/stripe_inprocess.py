"""The Stripe sandbox without a socket: its ASGI application, called directly."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.sandbox.stripe.app import Settings, build

NOW = 1_700_000_000.0

MANUAL = {
    "amount": "1250",
    "currency": "usd",
    "capture_method": "manual",
    "allowed_payment_method_types[0]": "card",
}
PAID = {**MANUAL, "confirm": "true", "payment_method": "pm_card_visa"}

UNLIMITED = Settings(per_endpoint=0, per_account=0)


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and its JSON."""

    status: int
    body: dict[str, Any]
    headers: httpx.Headers

    @property
    def error(self) -> dict[str, Any]:
        """The error of a refusal."""
        error: dict[str, Any] = self.body["error"]
        return error


class Sandbox:
    """Posts forms and reads answers."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        self.client = client
        self.clock = clock

    async def post(
        self, path: str, form: dict[str, str] | None = None, key: str | None = None
    ) -> Answer:
        """POST /v1/{path}, with an idempotency key if one is given."""
        headers = {"Idempotency-Key": key} if key else {}
        return _answer(await self.client.post(f"/v1/{path}", data=form or {}, headers=headers))

    async def get(self, path: str, **query: str) -> Answer:
        """GET /v1/{path}."""
        return _answer(await self.client.get(f"/v1/{path}", params=query))

    async def intent(self, **changes: str) -> dict[str, Any]:
        """A new intent; authorized by pm_card_visa unless told otherwise."""
        answer = await self.post("payment_intents", PAID | changes)
        assert answer.status == 200, answer.body
        return answer.body

    async def faults(self, **plan: object) -> None:
        """Switch faults."""
        (await self.client.post("/v1/sandbox/faults", json=plan)).raise_for_status()

    async def kinds(self) -> list[str]:
        """The types of all events so far, oldest first."""
        page = await self.get("events", limit="100")
        return [event["type"] for event in reversed(page.body["data"])]


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.json(), response.headers)


@asynccontextmanager
async def sandbox(
    settings: Settings = UNLIMITED, authorization: str | None = "Bearer sk_test_x"
) -> AsyncIterator[Sandbox]:
    """A fresh sandbox with a standing clock and seeded dice."""
    clock = Clock()
    app = build(settings, clock, random.Random(7))
    headers = {"Authorization": authorization} if authorization else {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://sandbox", headers=headers
        ) as client,
    ):
        yield Sandbox(client, clock)
