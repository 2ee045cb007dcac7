"""Tickets: a shopper's way into a show. Nothing is kept, so asking again is always safe."""

from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import any_key
from gateway.api.inputs import MAX_OPEN_BODY, read_json
from gateway.clock import rfc3339
from gateway.errors import ShowNotLive
from gateway.model import Id, Name, Timestamp
from gateway.rooms import Rooms
from gateway.settings import Settings

SOCKET_PATH = "/v1/live"


class TicketRequest(Struct, frozen=True):
    """Who wants to see what. A shopper without a name is a new one every time."""

    show: Id
    shopper: Id | None = None
    name: Name | None = None
    """What the host may call the shopper; not kept yet."""


class TicketAnswer(Struct, frozen=True):
    """The ticket, how long it is good for, and where it opens a socket."""

    token: str
    expires_at: Timestamp
    url: str


_REQUEST = msgspec.json.Decoder(TicketRequest)


async def create(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/tickets``: sign a ticket for a show that is not over.

    With a key of the shop, the shopper is who the shop says; without one, a guest of the default
    shop, who can be the same guest again but never a shopper of the shop's own naming.
    """
    key = any_key(rooms, request) if "authorization" in request.headers else None
    wanted = await read_json(request, _REQUEST, MAX_OPEN_BODY)
    shop = key.shop if key else rooms.settings.shop
    show = await rooms.shows.get(shop, wanted.show)
    if show.state == "ended":
        raise ShowNotLive("The show is over.", state=show.state)
    if key and wanted.shopper:
        shopper = wanted.shopper
    else:
        claimed = wanted.shopper or f"{rooms.rng.getrandbits(128):x}"
        shopper = rooms.tokens.guest(shop, claimed)
    token, expires_ms = rooms.tokens.sign_ticket(shop, wanted.show, shopper)
    address = socket_address(rooms.settings, request)
    return as_json(TicketAnswer(token, rfc3339(expires_ms), address))


def socket_address(settings: Settings, request: Request) -> str:
    """Where browsers reach the socket: as the settings say, else as they reached us just now."""
    base = urlsplit(settings.public_url or str(request.base_url))
    scheme = "wss" if base.scheme in {"https", "wss"} else "ws"
    return f"{scheme}://{base.netloc}{base.path.rstrip('/')}{SOCKET_PATH}"
