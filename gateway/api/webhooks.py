"""Webhooks: where a shop wants its orders pushed to."""

import hashlib
import hmac

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.api.inputs import MAX_OPEN_BODY, path_id, read_json
from gateway.discreet import Discreet
from gateway.errors import Invalid
from gateway.pos.fence import Fence, FencedOffError
from gateway.pos.webhooks import Webhook, WebhookBook, new_secret
from gateway.rooms import Rooms


class WebhookBody(Discreet, frozen=True):
    """Where to push; without a secret one is made."""

    url: str
    secret: str | None = None
    active: bool = True


class WebhookView(Discreet, frozen=True):
    """A webhook as it is kept. Its secret is shown only in answer to making it here."""

    name: str
    url: str
    active: bool
    secret: str | UnsetType = UNSET


class WebhookList(Struct, frozen=True):
    """All webhooks of a shop, by name."""

    webhooks: tuple[WebhookView, ...]


_BODY = msgspec.json.Decoder(WebhookBody)


async def put(rooms: Rooms, request: Request) -> Response:
    """``PUT /v1/webhooks/{name}``: set a webhook, all of it; to keep its secret, send it again."""
    shop, name = shop_with(rooms, request, "admin"), path_id(request, "name")
    body = await read_json(request, _BODY, MAX_OPEN_BODY)
    secret = body.secret or _secret(rooms, request, shop, name)
    try:
        webhook = Webhook(body.url, secret, body.active)
        await Fence.around(rooms.settings.webhook_targets).look(webhook.url)
    except FencedOffError as fenced:
        raise Invalid(f"url: {fenced}.") from None
    except ValueError as error:
        raise Invalid(f"{error}.") from None
    await WebhookBook(rooms.lane, shop).put(name, webhook)
    shown = UNSET if body.secret else secret
    return as_json(WebhookView(name, webhook.url, webhook.active, shown))


async def read(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/webhooks``: all of them, without their secrets."""
    shop = shop_with(rooms, request, "admin")
    book = await WebhookBook(rooms.lane, shop).all()
    views = (WebhookView(name, one.url, one.active) for name, one in sorted(book.items()))
    return as_json(WebhookList(tuple(views)))


async def remove(rooms: Rooms, request: Request) -> Response:
    """``DELETE /v1/webhooks/{name}``: it is gone, whether or not it was there."""
    shop, name = shop_with(rooms, request, "admin"), path_id(request, "name")
    await WebhookBook(rooms.lane, shop).remove(name)
    return Response(status_code=204)


def _secret(rooms: Rooms, request: Request, shop: str, name: str) -> str:
    """A secret made of ours and of the ``Idempotency-Key``.

    So the same request sent again after a lost answer shows the same secret, and a request with a
    new key makes a new one.
    """
    words = ("holdfast webhook", shop, name, request.headers.get("idempotency-key", ""))
    made = hmac.new(rooms.settings.secret.encode(), "\n".join(words).encode(), hashlib.sha256)
    return new_secret(lambda size: made.digest()[:size])
