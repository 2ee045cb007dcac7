"""Tickets: a shopper's way into a show, or a place in the line before it when it is full.

Asking again is always safe: a ticket is not kept, and a place in the line is not lost by it.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import Place
from gateway.api.answers import as_json
from gateway.api.callers import any_key
from gateway.api.inputs import MAX_OPEN_BODY, read_json
from gateway.clock import rfc3339
from gateway.discreet import Discreet
from gateway.errors import Forbidden, ShowNotLive
from gateway.messages import Token
from gateway.model import Id, Name, Timestamp
from gateway.rooms import Rooms
from gateway.settings import Settings, socket_origin
from gateway.tickets import Key

SOCKET_PATH = "/v1/live"


class TicketRequest(Discreet, frozen=True):
    """Who wants to see what. A shopper without a name is a new one every time."""

    show: Id
    shopper: Id | None = None
    name: Name | None = None
    """What the host may call the shopper; not kept yet."""
    queue_token: Token | None = None
    """From the last answer, when it was a place in the line."""


class TicketAnswer(Discreet, frozen=True):
    """The ticket, how long it is good for, and where it opens a socket."""

    token: str
    expires_at: Timestamp
    url: str


class QueueAnswer(Discreet, frozen=True):
    """The show is full: how many are ahead, oneself included, and when to ask again with what."""

    position: int
    retry_after_ms: int
    queue_token: str


_REQUEST = msgspec.json.Decoder(TicketRequest)


async def create(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/tickets``: sign a ticket for a show that is not over, or tell the place in line.

    With a key of the shop, the shopper is who the shop says; without one, a guest of the default
    shop, who can be the same guest again but never a shopper of the shop's own naming. Who waits
    and has no name is known by the ``queue_token``, and so is whoever the shop has named.
    """
    key = any_key(rooms, request) if "authorization" in request.headers else None
    wanted = await read_json(request, _REQUEST, MAX_OPEN_BODY)
    shop = key.shop if key else rooms.settings.shop
    show = await rooms.shows.get(shop, wanted.show)
    if show.state == "ended":
        raise ShowNotLive("The show is over.", state=show.state)
    shopper = _shopper(rooms, key, shop, wanted)
    place = await rooms.admission.ask(shop, wanted.show, shopper)
    if place:
        return _queued(place, rooms.tokens.sign_queued(shop, wanted.show, shopper))
    token, expires_ms = rooms.tokens.sign_ticket(
        shop, wanted.show, shopper, needs_place=rooms.admission.limited
    )
    address = socket_address(rooms.settings, request)
    return as_json(TicketAnswer(token, rfc3339(expires_ms), address))


def _shopper(rooms: Rooms, key: Key | None, shop: str, wanted: TicketRequest) -> str:
    """Who asks: the one who waits already, or who the shop says, or a guest.

    Raises:
        Unauthenticated, Forbidden: the ``queue_token`` is not good, or not for this.
    """
    named = None
    if wanted.shopper:
        named = wanted.shopper if key else rooms.tokens.guest(shop, wanted.shopper)
    if wanted.queue_token:
        waiting = rooms.tokens.read_queued(wanted.queue_token, shop, wanted.show)
        if named not in {None, waiting}:
            raise Forbidden("This queue_token is another shopper's.")
        return waiting
    return named or rooms.tokens.guest(shop, f"{rooms.rng.getrandbits(128):x}")


def _queued(place: Place, token: str) -> Response:
    answer = as_json(QueueAnswer(place.position, place.retry_after_ms, token), HTTPStatus.ACCEPTED)
    answer.headers["Retry-After"] = str(-(-place.retry_after_ms // 1000))
    return answer


def socket_address(settings: Settings, request: Request) -> str:
    """Where browsers reach the socket: as the settings say, else as they reached us just now."""
    base = settings.public_url or str(request.base_url)
    return f"{socket_origin(base)}{urlsplit(base).path.rstrip('/')}{SOCKET_PATH}"
