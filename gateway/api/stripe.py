"""Stripe's webhook: the bytes as they came, handed to checkout."""

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.inputs import Room, read_body
from gateway.checkout.webhook import StripeWebhook

MAX_EVENT_BYTES = 1_048_576
"""Far above Stripe's largest event; whoever sends more has no signature of Stripe's anyway."""
MOST_LARGE_BYTES = 16_777_216
"""Of the large events that are being read, all together: nobody has shown yet that he is Stripe."""


async def receive(webhook: StripeWebhook, room: Room, request: Request) -> Response:
    """``POST /v1/stripe/webhook``: 400 for what Stripe did not sign for us, else always 200."""
    body = await read_body(request, "application/json", MAX_EVENT_BYTES, room)
    await webhook.receive(body, request.headers.get("stripe-signature", ""))
    return as_json({"received": True})
