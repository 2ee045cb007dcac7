"""What we ask of Stripe: authorize, read, capture, cancel. The SDK is seen nowhere else.

Money is always authorized first (``capture_method=manual``) and captured after the sale is durable:
an authorization can be cancelled, a charge cannot. Idempotency keys are made of our own ids, so
that whoever repeats a step repeats it under the same key.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import stripe
from msgspec import Struct

from gateway.checkout.records import Record
from gateway.errors import Unavailable
from gateway.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_LONGER = "Payment takes longer than usual; we keep trying."
_PAGES = 100
"""Pages of 100 intents searched for one whose id was lost."""
_CLOCKS_APART_MS = 600_000
"""How far our clock and Stripe's may be apart when we search by time."""


class Intent(Struct, frozen=True):
    """A PaymentIntent, as far as we look at it."""

    id: str
    status: str
    amount: int
    currency: str
    client_secret: str
    metadata: dict[str, str]
    decline_code: str | None = None


class Declined(Exception):
    """A definite no: the method was declined or is not usable. Nothing is authorized."""

    def __init__(self, decline_code: str, intent: str | None = None) -> None:
        super().__init__(decline_code)
        self.decline_code = decline_code
        self.intent = intent


class NotPossible(Exception):
    """Stripe refuses this for good, by a code; read the intent's state and decide again."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Broken(Unavailable):
    """Stripe answered 5xx, and will say so again for a day under the same key: read the state."""


class Payments:
    """Stripe, for one account. Every method may be repeated."""

    def __init__(self, settings: Settings) -> None:
        self._http = stripe.HTTPXClient(timeout=settings.stripe_timeout_ms / 1000)
        address: Any = {"api": settings.stripe_url} if settings.stripe_url else {}
        self._client = stripe.StripeClient(
            settings.stripe_api_key,
            base_addresses=address,
            http_client=self._http,
            max_network_retries=1,
        )

    async def aclose(self) -> None:
        """Close the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def authorize(self, shop: str, record: Record) -> Intent:
        """Authorize the order's total with the attempt's payment method.

        Raises:
            Declined: a definite no.
            Unavailable: no answer, or not now; repeat it.
        """
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": record.amount,
            "currency": record.currency.lower(),
            "capture_method": "manual",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
            "metadata": {
                "shop": shop,
                "order": record.order,
                "hold": record.hold,
                "attempt": str(record.attempt),
            },
        }
        match record.token_kind:
            case "confirmation_token":
                params["confirmation_token"] = record.token
            case _:
                params["payment_method"] = record.token
        key = _key(shop, record, f"pi/{record.attempt}")
        try:
            return await _ask(
                lambda: self._client.v1.payment_intents.create_async(
                    params, {"idempotency_key": key}
                )
            )
        except NotPossible as refusal:
            # Whatever is wrong with it, asking again under the same key will not help.
            raise Declined(refusal.code) from None
        except _Broken:
            if found := await self.find(record):
                return found
            raise

    async def read(self, intent: str) -> Intent:
        """Read an intent as it is now."""
        try:
            return await _ask(lambda: self._client.v1.payment_intents.retrieve_async(intent))
        except NotPossible:
            raise Unavailable(_LONGER) from None

    async def capture(self, shop: str, record: Record) -> Intent:
        """Take the money.

        Raises:
            NotPossible: it is captured already, or the authorization is gone.
        """
        key, intent = _key(shop, record, "capture"), record.intent or ""
        try:
            return await _ask(
                lambda: self._client.v1.payment_intents.capture_async(
                    intent, {}, {"idempotency_key": key}
                )
            )
        except _Broken:
            return await self._if_it_is(intent, "succeeded")

    async def cancel(self, shop: str, record: Record, intent: str) -> Intent:
        """Give an authorization back.

        Raises:
            NotPossible: it is cancelled already, or captured.
        """
        key = _key(shop, record, f"void/{record.attempt}")
        try:
            return await _ask(
                lambda: self._client.v1.payment_intents.cancel_async(
                    intent, {}, {"idempotency_key": key}
                )
            )
        except _Broken:
            return await self._if_it_is(intent, "canceled")

    async def _if_it_is(self, intent: str, status: str) -> Intent:
        """The intent, if a request that seemed to fail took effect after all."""
        found = await self.read(intent)
        if found.status != status:
            raise Unavailable(_LONGER)
        return found

    async def find(self, record: Record) -> Intent | None:
        """Look for the intent of an attempt whose reply was lost, newest first.

        Raises:
            Unavailable: too many others are newer, so nobody knows yet.
        """
        since = ((record.asked_at or record.attempt_at) - _CLOCKS_APART_MS) // 1000
        params: Any = {"created": {"gte": since}, "limit": 100}
        for _ in range(_PAGES):
            page = await _call(lambda: self._client.v1.payment_intents.list_async(params))
            for found in page.data:
                intent = _intent(found)
                if intent.metadata.get("order") == record.order and (
                    intent.metadata.get("attempt") == str(record.attempt)
                ):
                    return intent
            if not page.has_more:
                return None
            params["starting_after"] = page.data[-1].id
        log.warning("payments: order %s: its intent was not among the newest", record.order)
        raise Unavailable(_LONGER)


def _key(shop: str, record: Record, step: str) -> str:
    """The idempotency key of a step: the same whoever repeats it, and written before it is used.

    With the moment the attempt began, for the same ids may come again when a database was lost.
    """
    return f"hf/{shop}/{record.order}/{record.attempt_at}/{step}"


async def _ask(call: Callable[[], Awaitable[stripe.PaymentIntent]]) -> Intent:
    return _intent(await _call(call))


async def _call(call: Callable[[], Awaitable[T]]) -> T:
    """Ask Stripe, and say its refusals in our words."""
    try:
        return await call()
    except stripe.CardError as error:
        answer: Any = error.json_body or {}
        body = answer.get("error") or {}
        intent = body.get("payment_intent") or {}
        code = body.get("decline_code") or error.code or "card_declined"
        raise Declined(code, intent.get("id")) from None
    except stripe.InvalidRequestError as error:
        if error.param in {"payment_method", "confirmation_token"}:
            raise NotPossible("invalid_payment_method") from None
        if error.code != "payment_intent_unexpected_state":
            log.error("payments: stripe refused: %s %s", error.code, error.param)
        raise NotPossible(error.code or "not_possible") from None
    except stripe.StripeError as error:
        cause, status = type(error.__cause__ or error).__name__, error.http_status or 0
        log.warning("payments: stripe: %s %s", cause, status or "")
        raise (_Broken if status >= 500 else Unavailable)(_LONGER) from None


def _intent(found: stripe.PaymentIntent) -> Intent:
    failure = found.last_payment_error
    return Intent(
        id=found.id,
        status=found.status,
        amount=found.amount,
        currency=found.currency.upper(),
        client_secret=found.client_secret or "",
        metadata=dict(found.metadata.to_dict()) if found.metadata else {},
        decline_code=_decline_code(failure) if failure else None,
    )


def _decline_code(failure: object) -> str | None:
    """Why the last attempt failed. Fields that do not apply are not there at all."""
    return getattr(failure, "decline_code", None) or getattr(failure, "code", None)
