"""Stripe's side of the books: our PaymentIntents by time, a hundred to a page.

The SDK is asked for the bare reply: making its objects of a hundred intents costs several times
what reading the few fields we compare does, and all of it would hold up the event loop.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from stripe import StripeClient

from gateway.checkout import marks
from gateway.checkout.provider import Broken, NotPossible, Provider
from gateway.checkout.turns import Endpoint
from gateway.reconcile.differences import Charge

PAGE = 100
"""Most that Stripe lists at once."""

_INTENTS = "/v1/payment_intents"
_REFUNDS = "/v1/refunds"
_NOT_GIVEN_BACK = frozenset({"failed", "canceled"})
_TRIES = 3


class _Charge(Struct, frozen=True):
    amount_refunded: int


class _Intent(Struct, frozen=True):
    id: str
    status: str
    amount_received: int
    currency: str
    created: int
    metadata: dict[str, str]
    latest_charge: _Charge | str | None = None


class _Refund(Struct, frozen=True):
    id: str
    amount: int
    status: str | None = None
    payment_intent: str | None = None


T = TypeVar("T", _Intent, _Refund)


class _Page(Struct, Generic[T], frozen=True):
    data: list[T]
    has_more: bool


class Paid(Struct, frozen=True):
    """An intent of ours whose money was taken, and what for; minor units and ms."""

    intent: str
    mark: marks.Mark
    amount: int
    currency: str
    created_at: int
    bought: marks.PaidFor


class Page(Struct, frozen=True):
    """How many intents Stripe listed, and ours among them, newest first."""

    listed: int
    charges: tuple[Charge, ...]


_INTENT_PAGE = msgspec.json.Decoder(_Page[_Intent])
_REFUND_PAGE = msgspec.json.Decoder(_Page[_Refund])
_INTENT = msgspec.json.Decoder(_Intent)


class Statement:
    """The intents of one environment. Reading takes its turn like everything we ask of Stripe."""

    def __init__(self, provider: Provider, environment: str) -> None:
        self._provider = provider
        self._environment = environment

    @property
    def _client(self) -> StripeClient:
        return self._provider.client

    async def pages(self, since_ms: int) -> AsyncGenerator[Page, None]:
        """All intents made since, newest first. The next page is read while one is worked on.

        What was given back comes from the list of refunds, which is short: with every charge
        expanded, a page is three times as long and takes twice the time.

        Raises:
            Unavailable: Stripe does not answer.
        """
        refunded: Counter[str] = Counter()
        async with contextlib.aclosing(
            self._walk(Endpoint.REFUNDS, _REFUNDS, _REFUND_PAGE, since_ms)
        ) as pages:
            async for refunds in pages:
                for refund in refunds:
                    if refund.payment_intent and refund.status not in _NOT_GIVEN_BACK:
                        refunded[refund.payment_intent] += refund.amount
        async with contextlib.aclosing(
            self._walk(Endpoint.LIST, _INTENTS, _INTENT_PAGE, since_ms)
        ) as listed:
            async for intents in listed:
                charges = (self._charge(intent, refunded[intent.id]) for intent in intents)
                yield Page(len(intents), tuple(filter(None, charges)))

    async def _walk(
        self, endpoint: Endpoint, path: str, decoder: msgspec.json.Decoder[_Page[T]], since_ms: int
    ) -> AsyncGenerator[list[T], None]:
        query: dict[str, Any] = {"created": {"gte": since_ms // 1000}, "limit": PAGE}
        reading = asyncio.create_task(self._get(endpoint, path, query))
        try:
            while True:
                page = decoder.decode(await reading)
                more = page.has_more and page.data
                if more:
                    query = {**query, "starting_after": page.data[-1].id}
                    reading = asyncio.create_task(self._get(endpoint, path, query))
                yield page.data
                if not more:
                    return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def paid(self, since_ms: int) -> AsyncGenerator[tuple[Paid, ...], None]:
        """The intents made since whose money was taken, and say what for, page by page.

        Raises:
            Unavailable: Stripe does not answer.
        """
        async with contextlib.aclosing(
            self._walk(Endpoint.LIST, _INTENTS, _INTENT_PAGE, since_ms)
        ) as listed:
            async for intents in listed:
                yield tuple(filter(None, map(self._paid, intents)))

    def _paid(self, intent: _Intent) -> Paid | None:
        about = self._mark(intent)
        if about is None or intent.status != "succeeded":
            return None
        currency = intent.currency.upper()
        bought = marks.read_units(intent.metadata, currency)
        if bought is None:
            return None
        return Paid(
            intent.id, about, intent.amount_received, currency, intent.created * 1000, bought
        )

    def _mark(self, intent: _Intent) -> marks.Mark | None:
        """Whose an intent is; ``None`` for what somebody else made in the same account."""
        about = marks.read(intent.metadata)
        return about if about and about.env == self._environment else None

    async def read(self, intent: str) -> Charge | None:
        """One intent as it is now; ``None`` when Stripe has none of ours under this id.

        Raises:
            Unavailable: Stripe does not answer.
        """
        query: dict[str, Any] = {"expand": ["latest_charge"]}
        try:
            body = await self._get(Endpoint.READ, f"{_INTENTS}/{intent}", query)
        except NotPossible:
            return None
        found = _INTENT.decode(body)
        charge = found.latest_charge
        return self._charge(found, charge.amount_refunded if isinstance(charge, _Charge) else 0)

    async def _get(self, endpoint: Endpoint, path: str, query: dict[str, Any]) -> str:
        for attempt in range(_TRIES):
            try:
                reply = await self._provider.ask(
                    endpoint, lambda: self._client.raw_request_async("get", path, **query)
                )
            except Broken:
                # Whoever only reads may ask again, and a long look should survive one 500.
                if attempt == _TRIES - 1:
                    raise
            else:
                return str(reply.body)
        raise AssertionError("unreachable")

    async def cancel(self, charge: Charge) -> None:
        """Give back what is set aside for an order we have no record of. Again is fine.

        Raises:
            NotPossible: it is cancelled already, or captured.
            Unavailable: no answer, or not now; repeat it.
        """
        key = f"hf/{self._environment}/{charge.id}/void"
        await self._provider.insist(
            Endpoint.CANCEL,
            key,
            lambda key: self._client.v1.payment_intents.cancel_async(
                charge.id, {}, {"idempotency_key": key}
            ),
        )

    async def give_back(self, charge: Charge) -> None:
        """Refund all that is left of a payment we have no record of. Again is fine.

        Raises:
            NotPossible: it is refunded already, or was never captured.
            Unavailable: no answer, or not now; repeat it.
        """
        key = f"hf/{self._environment}/{charge.id}/void/refund"
        await self._provider.insist(
            Endpoint.REFUND,
            key,
            lambda key: self._client.v1.refunds.create_async(
                {"payment_intent": charge.id}, {"idempotency_key": key}
            ),
        )

    def _charge(self, intent: _Intent, refunded: int) -> Charge | None:
        about = self._mark(intent)
        if about is None:
            return None
        return Charge(
            id=intent.id,
            status=intent.status,
            currency=intent.currency.upper(),
            received=intent.amount_received,
            refunded=refunded,
            created_at=intent.created * 1000,
            shop=about.shop,
            order=about.order,
            attempt=about.attempt,
        )
