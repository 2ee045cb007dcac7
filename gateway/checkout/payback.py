"""What we ask of Stripe so that the money of a refund goes back once.

Stripe remembers an idempotency key for a day or so, and a refund may be pending for longer. So
Stripe is always looked at first: a refund of ours carries our marks, and is never asked for again.
"""

import hashlib
import logging

import stripe
from msgspec import Struct

from gateway.checkout.provider import LONGER, Broken, Declined, NotPossible, Provider
from gateway.checkout.record import Record
from gateway.checkout.refund import Refund
from gateway.checkout.turns import Endpoint
from gateway.errors import Unavailable
from gateway.settings import Settings

log = logging.getLogger(__name__)

_PAGES = 10
"""Pages of 100 refunds of one payment, most of which somebody else must have made."""


class Payback(Struct, frozen=True):
    """What Stripe says of a refund."""

    id: str
    status: str
    failure: str | None


async def pay_back(
    provider: Provider, settings: Settings, shop: str, record: Record, refund: Refund
) -> Payback:
    """Have Stripe give money back, unless it does already. Again is fine.

    Raises:
        NotPossible: a definite no, by a code, and no money went back.
        Unavailable: no answer, or not now.
    """
    marks = _marks(settings, shop, record, refund)
    params: stripe.params.RefundCreateParams = {
        "payment_intent": record.intent or "",
        "amount": refund.amount,
        "metadata": marks,
    }
    # With the moment the attempt began and the caller's key, for the same order and the same number
    # may come again when a database was lost.
    began = f"hf/{settings.environment}/{shop}/{record.order}/{record.attempt_at}"
    key = f"{began}/refund/{refund.n}/{marks['key']}"
    refunds = provider.client.v1.refunds
    if found := await _find(provider, record, marks):
        return found
    try:
        created = await provider.ask(
            Endpoint.REFUND, lambda: refunds.create_async(params, {"idempotency_key": key})
        )
    except Declined as declined:
        raise NotPossible(declined.decline_code) from None
    except Broken as broken:
        if found := await _find(provider, record, marks):
            return found
        if broken.replayed:
            # Under this key there will never be a refund, and there is none.
            raise NotPossible("processing_error") from None
        raise
    return _read(created)


def _marks(settings: Settings, shop: str, record: Record, refund: Refund) -> dict[str, str]:
    """The metadata that our refund is known by."""
    return {
        "env": settings.environment,
        "shop": shop,
        "order": record.order,
        "n": str(refund.n),
        "key": hashlib.sha256(refund.key.encode()).hexdigest()[:16],
    }


async def _find(provider: Provider, record: Record, marks: dict[str, str]) -> Payback | None:
    refunds = provider.client.v1.refunds
    params: stripe.params.RefundListParams = {
        "payment_intent": record.intent or "",
        "limit": 100,
    }
    for _ in range(_PAGES):
        try:
            page = await provider.ask(Endpoint.REFUNDS, lambda: refunds.list_async(params))
        except NotPossible as refusal:
            raise Unavailable(LONGER, f"Stripe does not list its refunds: {refusal}.") from None
        for found in page.data:
            if found.metadata and marks.items() <= found.metadata.to_dict().items():
                return _read(found)
        if not page.has_more:
            return None
        params["starting_after"] = page.data[-1].id
    log.error("refunds: order %s: its payment has too many refunds", record.order)
    raise Unavailable(LONGER, "Its payment has too many refunds.")


def _read(found: stripe.Refund) -> Payback:
    return Payback(found.id, found.status or "", getattr(found, "failure_reason", None))
