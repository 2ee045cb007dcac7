"""What Stripe tells us: a hint to look at an order now instead of at the next sweep.

A webhook is never believed about money: it names an order, and ``settle`` reads the truth. So it
may come twice, late or out of order, and one that is lost only costs time. What is not signed with
one of our secrets, within the tolerance, for our mode, changes nothing.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, field

import msgspec
import stripe
from msgspec import Struct

from gateway.checkout.settle import Settler
from gateway.clock import Clock
from gateway.errors import HoldfastError, Invalid, NotFound, Unavailable
from gateway.model import Id
from gateway.settings import Settings

log = logging.getLogger(__name__)

TOLERANCE_S = 300
"""How far from now a signature's time may be, either way."""
SETTLE_WITHIN_S = 1.0
"""Stripe is answered within so long; what is not settled by then is left to the sweep."""
SETTLING_AT_ONCE = 8
"""Webhooks that settle at the same time; others wait, within ``SETTLE_WITHIN_S``, and give up."""

_TIMESTAMP = re.compile(r"t=([0-9]{1,12})")
_TELLING = frozenset(
    f"payment_intent.{what}"
    for what in ("amount_capturable_updated", "succeeded", "payment_failed", "canceled")
)
"""Events after which there may be something to do; all others are merely received."""


class Forged(Invalid):
    """Stripe did not send this to us, or not now."""

    status = 400


class _Event(Struct, frozen=True):
    type: str
    livemode: bool
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Metadata(Struct, frozen=True):
    shop: Id
    order: Id


class _Object(Struct, frozen=True):
    metadata: _Metadata


class _Data(Struct, frozen=True):
    object: _Object


_EVENT = msgspec.json.Decoder(_Event)
_DATA = msgspec.json.Decoder(_Data)


@dataclass(frozen=True, slots=True)
class StripeWebhook:
    """Takes Stripe's events, for every shop of this Redis."""

    settler: Settler
    settings: Settings
    clock: Clock
    _places: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(SETTLING_AT_ONCE)
    )

    async def receive(self, body: bytes, signature: str) -> None:
        """Check an event and settle the order it is about, as far as that goes within a second.

        When it returns, the event is dealt with, or the sweep will see to it.

        Raises:
            Forged: the signature, its time or the mode is wrong; nothing was done.
        """
        event = self._verified(body, signature)
        if event.type not in _TELLING:
            return
        try:
            about = _DATA.decode(event.data).object.metadata
        except msgspec.DecodeError:
            return  # A payment that was not made by us, in an account we share.
        await self._settle(about.shop, about.order)

    async def _settle(self, shop: str, order: str) -> None:
        try:
            async with asyncio.timeout(SETTLE_WITHIN_S), self._places:
                await self.settler.settle(shop, order)
        except NotFound:
            log.info("webhook: order %s is not known here", order)
        except (Unavailable, TimeoutError):
            log.info("webhook: order %s is left to the sweep", order)
        except HoldfastError as error:
            log.warning("webhook: order %s is left to the sweep: %s", order, error.code)
        except Exception:
            # Stripe repeating it for three days would not help; the sweep meets it as well.
            log.exception("webhook: order %s is left to the sweep", order)

    def _verified(self, body: bytes, signature: str) -> _Event:
        if not any(_is_signed(body, signature, secret) for secret in self._secrets()):
            raise Forged("The signature does not fit the body.")
        sent = _TIMESTAMP.search(signature)
        if not sent or abs(int(sent[1]) - self.clock.now_ms() / 1000) > TOLERANCE_S:
            raise Forged("The signature's time is too far from now.")
        try:
            event = _EVENT.decode(body)
        except (msgspec.DecodeError, RecursionError):
            raise Forged("The body is not an event.") from None
        if event.livemode is not _is_live(self.settings.stripe_api_key):
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


def _is_live(api_key: str) -> bool:
    return api_key.startswith(("sk_live_", "rk_live_"))
