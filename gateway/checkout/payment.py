"""What we ask of Stripe: authorize, read, capture, cancel.

Money is always authorized first (``capture_method=manual``) and captured after the sale is durable:
an authorization can be cancelled, a charge cannot. Idempotency keys are made of our own ids, which
are in the record before they are used, so that whoever repeats a step repeats it under the same
key; only what cannot happen twice at Stripe is asked for under another key after a 5xx (see
``Provider.insist``). Every request takes its turn in the queue all processes share.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import stripe

from gateway.checkout import marks
from gateway.checkout.provider import KEY_REUSED, LONGER, Broken, Declined, NotPossible, Provider
from gateway.checkout.record import Record
from gateway.checkout.turns import CalledOff, Endpoint, OnWait, Turns
from gateway.clock import Clock
from gateway.discreet import Discreet
from gateway.errors import Unavailable
from gateway.lane import Lane
from gateway.settings import Settings

log = logging.getLogger(__name__)

_DONE = {Endpoint.CAPTURE: "succeeded", Endpoint.CANCEL: "canceled"}
_PAGES = 500
"""Pages of 100 intents searched for one whose id was lost, made while the attempt asked for it."""
_CLOCKS_APART_MS = 600_000
"""How far our clock and Stripe's may be apart when we search by time."""
_OPEN = {
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
}

Ready = Callable[[], Awaitable[bool]]


class Intent(Discreet, frozen=True):
    """A PaymentIntent, as far as we look at it."""

    id: str
    status: str
    amount: int
    currency: str
    client_secret: str
    metadata: dict[str, str]
    livemode: bool = False
    decline_code: str | None = None

    @property
    def approved(self) -> bool:
        """The shopper's bank said yes: the money is authorized, or already taken."""
        return self.status in {"requires_capture", "succeeded"}

    @property
    def open(self) -> bool:
        """It can still be paid, or captured; it can be cancelled."""
        return self.status in _OPEN


class Payments:
    """Stripe, for one account. Every method may be repeated.

    Those that change something take ``on_wait``, which is told the place in the queue, and raise
    ``CalledOff`` when it says that it need not go on.
    """

    def __init__(self, settings: Settings, lane: Lane, clock: Clock) -> None:
        self._settings = settings
        self.provider = Provider(settings, Turns(lane, settings), clock)
        self._intents = self.provider.client.v1.payment_intents

    async def aclose(self) -> None:
        """Close the connections to Stripe."""
        await self.provider.aclose()

    async def authorize(
        self,
        shop: str,
        record: Record,
        ready: Ready,
        on_wait: OnWait | None = None,
    ) -> Intent:
        """Authorize the order's total with the attempt's payment method.

        ``ready`` is asked each time it is our turn, just before Stripe is; ``False`` calls it off.

        Raises:
            Declined: a definite no.
            CalledOff: it was not wanted any more, and Stripe was not asked this time.
            Unavailable: no answer, or not now; repeat it.
        """
        params = self._intent_params(shop, record)
        key = self._key(shop, record, f"pi/{record.attempt}")

        async def create() -> stripe.PaymentIntent:
            if not await ready():
                raise CalledOff
            return await self._intents.create_async(params, {"idempotency_key": key})

        try:
            return _intent(await self.provider.ask(Endpoint.CREATE, create, on_wait))
        except NotPossible as refusal:
            # The same order was asked for by other settings: what was made then is its intent.
            if refusal.code == KEY_REUSED and (found := await self.find(shop, record)):
                return found
            # Whatever is wrong with it, asking again under the same key will not help.
            raise Declined(refusal.code) from None
        except Broken as broken:
            if found := await self.find(shop, record):
                return found
            if broken.replayed:
                # This key makes no intent any more, and none was made: another attempt may.
                raise Declined("processing_error") from None
            raise

    def _intent_params(self, shop: str, record: Record) -> stripe.params.PaymentIntentCreateParams:
        automatic = [word for word in self._settings.automatic_methods.split(",") if word]
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": record.amount,
            "currency": record.currency.lower(),
            "capture_method": "manual",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
            "metadata": marks.of_attempt(self._settings.environment, shop, record),
        }
        if automatic and record.pinned:
            params["capture_method"] = "automatic"
            params["allowed_payment_method_types"] = ["card", *automatic]
            params["payment_method_options"] = {"card": {"capture_method": "manual"}}
            params["return_url"] = self._settings.page_url
        match record.token_kind:
            case "confirmation_token":
                params["confirmation_token"] = record.token
            case _:
                params["payment_method"] = record.token
        return params

    async def read(self, intent: str, on_wait: OnWait | None = None) -> Intent:
        """Read an intent as it is now."""

        def retrieve() -> Awaitable[stripe.PaymentIntent]:
            return self._intents.retrieve_async(intent)

        try:
            return _intent(await self.provider.ask(Endpoint.READ, retrieve, on_wait))
        except NotPossible as refusal:
            raise Unavailable(LONGER, f"Stripe does not show {intent}: {refusal}.") from None

    async def capture(self, shop: str, record: Record, on_wait: OnWait | None = None) -> Intent:
        """Take the money, and say on the intent which units it paid for.

        Raises:
            NotPossible: it is captured already, or the authorization is gone.
        """

        def capture(key: str) -> Awaitable[stripe.PaymentIntent]:
            return self._intents.capture_async(
                record.intent or "",
                {"metadata": marks.of_units(record)},
                {"idempotency_key": key},
            )

        key = self._key(shop, record, "capture")
        return await self._change(Endpoint.CAPTURE, record.intent or "", key, capture, on_wait)

    async def cancel(
        self,
        shop: str,
        record: Record,
        intent: str,
        status: str = "requires_capture",
        on_wait: OnWait | None = None,
    ) -> Intent:
        """Give an authorization back. It need not be the one the record is bound to.

        ``status`` is what the intent was found in: what Stripe refuses in one state it would refuse
        under the same key in every other.

        Raises:
            NotPossible: it is cancelled already, or captured.
        """

        def cancel(key: str) -> Awaitable[stripe.PaymentIntent]:
            return self._intents.cancel_async(intent, {}, {"idempotency_key": key})

        key = self._key(shop, record, f"void/{intent}/{status}")
        return await self._change(Endpoint.CANCEL, intent, key, cancel, on_wait)

    async def give_back(self, shop: str, record: Record, intent: str) -> None:
        """Refund all of a payment that was taken without a sale. Again is fine."""
        refunds = self.provider.client.v1.refunds

        def refund(key: str) -> Awaitable[stripe.Refund]:
            return refunds.create_async({"payment_intent": intent}, {"idempotency_key": key})

        key = self._key(shop, record, f"void/{intent}/refund")
        try:
            await self.provider.insist(Endpoint.REFUND, key, refund)
        except NotPossible as refusal:
            if refusal.code != "charge_already_refunded":
                raise Unavailable(LONGER, f"Stripe does not refund {intent}: {refusal}.") from None

    async def _change(
        self,
        endpoint: Endpoint,
        intent: str,
        key: str,
        ask: Callable[[str], Awaitable[stripe.PaymentIntent]],
        on_wait: OnWait | None,
    ) -> Intent:
        """Capture or cancel an intent; what was answered with a 5xx may have worked after all."""
        try:
            return _intent(await self.provider.insist(endpoint, key, ask, on_wait))
        except Broken:
            found = await self.read(intent)
            if found.status != _DONE[endpoint]:
                raise
            return found

    async def find(self, shop: str, record: Record) -> Intent | None:
        """Look for the intent of an attempt whose reply was lost, newest first.

        Raises:
            Unavailable: too many others are newer, so nobody knows yet.
        """
        since = (record.attempt_at - _CLOCKS_APART_MS) // 1000
        until = ((record.asked_at or record.attempt_at) + _CLOCKS_APART_MS) // 1000
        params: Any = {"created": {"gte": since, "lte": until}, "limit": 100}
        for _ in range(_PAGES):
            page = await self.provider.ask(Endpoint.LIST, lambda: self._intents.list_async(params))
            for found in map(_intent, page.data):
                if self.is_of(shop, record, found):
                    return found
            if not page.has_more:
                return None
            params["starting_after"] = page.data[-1].id
        log.warning("payments: order %s: its intent was not among those of its time", record.order)
        raise Unavailable(LONGER, "Stripe has too many intents of that time.")

    def is_for(self, shop: str, order: str, intent: Intent) -> bool:
        """Whether an intent was made for this order, by whatever attempt."""
        expected = {"env": self._settings.environment, "shop": shop, "order": order}
        return expected.items() <= intent.metadata.items()

    def is_of(self, shop: str, record: Record, intent: Intent) -> bool:
        """Whether an intent was made for this very attempt."""
        attempt = intent.metadata.get("attempt")
        return self.is_for(shop, record.order, intent) and attempt == str(record.attempt)

    def may_settle(self, shop: str, record: Record, intent: Intent) -> bool:
        """An intent settles an order only if it was made for it, to the last detail."""
        return (
            self.is_of(shop, record, intent)
            and intent.amount == record.amount
            and intent.currency == record.currency
            and intent.livemode == self._settings.live
            and record.intent in {None, intent.id}
        )

    def _key(self, shop: str, record: Record, step: str) -> str:
        """The idempotency key of a step: the same whoever repeats it.

        With the moment the attempt began, for the same ids may come again when a database was lost.
        """
        env = self._settings.environment
        return f"hf/{env}/{shop}/{record.order}/{record.attempt_at}/{step}"


def _intent(found: stripe.PaymentIntent) -> Intent:
    failure = found.last_payment_error
    return Intent(
        id=found.id,
        status=found.status,
        amount=found.amount,
        currency=found.currency.upper(),
        client_secret=found.client_secret or "",
        metadata=dict(found.metadata.to_dict()) if found.metadata else {},
        livemode=found.livemode,
        decline_code=_decline_code(failure) if failure else None,
    )


def _decline_code(failure: object) -> str | None:
    """Why the last attempt failed. Fields that do not apply are not there at all."""
    return getattr(failure, "decline_code", None) or getattr(failure, "code", None)
