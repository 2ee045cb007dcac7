"""Refunds and cancellations, asked for by the shop's programs."""

import asyncio
import logging

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.api.inputs import MAX_OPEN_BODY, idempotency_key, path_id, read_json
from gateway.checkout.refund import Kept, Refund, RefundRequest, refund_id
from gateway.errors import HoldfastError
from gateway.model import Line, Money
from gateway.rooms import Rooms

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long the answer waits for the refund to be done; the sweep goes on with it."""


class RefundView(Struct, frozen=True, omit_defaults=True):
    """A refund as it is now. A failed one says why, and its money may be refunded anew.

    ``order_version`` is the one that tells of it, or while it is pending the latest.
    """

    id: str
    order: str
    state: str
    amount: Money
    lines: tuple[Line, ...]
    restocked: bool
    order_version: int
    reason: str | None = None
    code: str | None = None


_REQUEST = msgspec.json.Decoder(RefundRequest)


async def create(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/orders/{order}/refunds``: give money back, and units if any are named.

    ``{"amount": …}`` is for money alone, ``{"lines": […]}`` for units at the price they were sold
    for, both for units at another price; ``{}`` is for all that is left, which cancels an order
    nothing of which was handed over. ``restock`` says whether the units go back on sale; by default
    they do, where there are any. The same ``Idempotency-Key`` is the same refund, whose state is
    ``pending``, ``done`` or ``failed``.
    """
    shop, order = shop_with(rooms, request, "pos"), path_id(request, "order")
    key = idempotency_key(request)
    wanted = await read_json(request, _REQUEST, MAX_OPEN_BODY)
    refund = await rooms.refunds.begin(shop, order, key, wanted)
    if refund.state == "pending":
        await _go_on(rooms, shop, order)
    kept = await rooms.refunds.read(shop, order)
    return as_json(_view(kept, kept.refunds[refund.n - 1]))


async def _go_on(rooms: Rooms, shop: str, order: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await rooms.settler.settle(shop, order)
    except (HoldfastError, TimeoutError) as error:
        why = str(error) or "it takes longer"
        log.warning("refunds: order %s is left to the sweep: %s", order, why)


def _view(kept: Kept, refund: Refund) -> RefundView:
    order = kept.order
    return RefundView(
        id=refund_id(order.id, refund.n),
        order=order.id,
        state=refund.state,
        amount=Money(refund.amount, order.total.currency),
        lines=refund.lines,
        restocked=refund.restocked,
        order_version=refund.order_version or order.order_version,
        reason=refund.reason,
        code=refund.code,
    )
