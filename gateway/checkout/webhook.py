"""What Stripe tells us: a hint to look at an order now instead of at the next sweep.

A webhook is never believed about money: it names an order, and ``settle`` reads the truth. So it
may come twice, late or out of order, and one that is lost only costs time; one about an order that
nobody knows yet is kept. What is not signed with one of our secrets, within the tolerance, for our
mode, changes nothing.
"""

import asyncio
import logging
import re
from dataclasses import dataclass

import msgspec
import stripe
from msgspec import Struct

from gateway.checkout.desk import Desk
from gateway.checkout.unknown import About, UnknownEvents
from gateway.clock import Clock
from gateway.errors import HoldfastError, Invalid, NotFound
from gateway.model import Id
from gateway.settings import Settings
from gateway.traces import Kind, Trace, about, parse

log = logging.getLogger(__name__)

TOLERANCE_S = 300
"""How far from now a signature's time may be, either way."""
ROUTE = "/v1/stripe/webhook"
SETTLE_WITHIN_S = 1.0
"""Stripe is answered within so long; what takes longer goes on without it."""

_SECONDS = re.compile(r"[0-9]{1,12}")
_APPROVED = "payment_intent.amount_capturable_updated"
_TELLING = frozenset(
    {
        _APPROVED,
        "payment_intent.succeeded",
        "payment_intent.processing",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
    }
)
"""Events after which there may be something to do; all others are merely received."""


class Forged(Invalid):
    """Stripe did not send this to us, or not now."""

    status = 400


class _Event(Struct, frozen=True):
    type: str
    livemode: bool
    created: int = 0
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Metadata(Struct, frozen=True):
    shop: Id
    order: Id
    hold: Id
    env: str = ""


class _Object(Struct, frozen=True):
    id: str
    metadata: _Metadata


class _Data(Struct, frozen=True):
    object: _Object


_EVENT = msgspec.json.Decoder(_Event)
_DATA = msgspec.json.Decoder(_Data)


@dataclass(frozen=True, slots=True)
class StripeWebhook:
    """Takes Stripe's events, for every shop of this Redis."""

    desk: Desk
    unknown: UnknownEvents
    settings: Settings
    clock: Clock

    async def receive(self, body: bytes, signature: str) -> None:
        """Check an event and settle the order it is about.

        When it returns, that is done, or goes on, or the sweep will do it.

        Raises:
            Forged: the signature, its time or the mode is wrong; nothing was done.
        """
        event = self._verified(body, signature)
        if event.type not in _TELLING:
            return
        try:
            paid = _DATA.decode(event.data).object
        except msgspec.DecodeError:
            return  # A payment that was not made by us, in an account we share.
        if paid.metadata.env != self.settings.environment:
            return
        meta = paid.metadata
        with about(shop=meta.shop, order=meta.order, hold=meta.hold):
            await self._hear(paid, event)

    async def _hear(self, paid: _Object, event: _Event) -> None:
        """Settle it, as a step of the purchase it is about."""
        order, tracer = paid.metadata.order, self.desk.settler.tracer
        told = {"http.request.method": "POST", "http.route": ROUTE, "stripe.event": event.type}
        try:
            trace = await self._trace(paid.metadata) if tracer.on else None
            with tracer.enter(trace, f"POST {ROUTE}", Kind.SERVER, told):
                await self._settle(paid, event)
        except HoldfastError as error:
            log.warning("webhook: order %s is left to the sweep: %s", order, error.code)
        except Exception:
            # Stripe repeating it for three days would not help; the sweep meets it as well.
            log.exception("webhook: order %s is left to the sweep", order)

    async def _trace(self, meta: _Metadata) -> Trace | None:
        """Stripe knows nothing of traces; the order's record does."""
        record = await self.desk.settler.records.find(meta.shop, meta.order)
        return parse(record.traceparent) if record else None

    async def _settle(self, paid: _Object, event: _Event) -> None:
        about = paid.metadata
        try:
            async with asyncio.timeout(SETTLE_WITHIN_S):
                await self.desk.settle(about.shop, about.order, about.hold)
                if event.type == _APPROVED:
                    await self.desk.settler.call_back(about.shop, about.order, paid.id)
        except TimeoutError:
            log.info("webhook: order %s is still being settled", about.order)
        except NotFound:
            log.warning("webhook: order %s is not known here; kept", about.order)
            created_ms = event.created * 1000 or self.clock.now_ms()
            await self.unknown.keep(About(about.shop, about.order, paid.id, created_ms))

    def _verified(self, body: bytes, signature: str) -> _Event:
        if not any(_is_signed(body, signature, secret) for secret in self._secrets()):
            raise Forged("The signature does not fit the body.")
        if abs(_signed_at(signature) - self.clock.now_ms() / 1000) > TOLERANCE_S:
            raise Forged("The signature's time is too far from now.")
        try:
            event = _EVENT.decode(body)
        except (msgspec.DecodeError, RecursionError):
            raise Forged("The body is not an event.") from None
        if event.livemode is not self.settings.live:
            raise Forged("The event is of the other mode, live or test.")
        return event

    def _secrets(self) -> list[str]:
        """Several while they are rotated, separated by commas."""
        secrets = self.settings.stripe_webhook_secret.split(",")
        return [secret.strip() for secret in secrets if secret.strip()]


def _is_signed(body: bytes, signature: str, secret: str) -> bool:
    # The tolerance is ours: the SDK looks at the past only, and by a clock we cannot hand in.
    try:
        return signature.isascii() and stripe.WebhookSignature.verify_header(
            body, signature, secret, tolerance=None
        )
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False


def _signed_at(signature: str) -> int:
    """The very time that was signed, in seconds: the first one, for that is what the SDK reads."""
    items = (item.split("=", 2) for item in signature.split(","))
    seconds = next((words[1] for words in items if words[0] == "t"), "")
    if not _SECONDS.fullmatch(seconds):
        raise Forged("The signature has no time.")
    return int(seconds)
