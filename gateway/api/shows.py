"""Shows: put, started, ended, and the product that is pinned."""

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import any_key, shop_with
from gateway.api.inputs import MAX_OPEN_BODY, path_id, read_json
from gateway.clock import parse_rfc3339, rfc3339
from gateway.errors import Invalid
from gateway.model import Id, Show, Text, Timestamp
from gateway.rooms import Rooms


class ShowBody(Struct, frozen=True):
    """What a show is called, when it starts, and what is seen."""

    title: Text
    starts_at: Timestamp | None = None
    video: Annotated[str, Meta(max_length=2000)] | None = None


class HighlightBody(Struct, frozen=True):
    """The product to pin; ``null`` pins none."""

    sku: Id | None


_SHOW = msgspec.json.Decoder(ShowBody)
_HIGHLIGHT = msgspec.json.Decoder(HighlightBody)


async def put(rooms: Rooms, request: Request) -> Response:
    """``PUT /v1/shows/{show}``: create or rename; its state and highlight stay."""
    shop, show = _host(rooms, request)
    body = await read_json(request, _SHOW, MAX_OPEN_BODY)
    wanted = Show(show, body.title, starts_at=_moment(body.starts_at), video=_address(body.video))
    return as_json(await rooms.shows.put(shop, wanted))


async def read(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/shows/{show}``, for any key of the shop."""
    shop = any_key(rooms, request).shop
    return as_json(await rooms.shows.get(shop, path_id(request, "show")))


async def start(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/shows/{show}/start``: selling begins; again changes nothing."""
    return as_json(await rooms.shows.move(*_host(rooms, request), "live"))


async def end(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/shows/{show}/end``: for good; again changes nothing."""
    return as_json(await rooms.shows.move(*_host(rooms, request), "ended"))


async def highlight(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/shows/{show}/highlight``: pin a product of the catalogue, or none."""
    shop, show = _host(rooms, request)
    body = await read_json(request, _HIGHLIGHT, MAX_OPEN_BODY)
    return as_json(await rooms.shows.highlight(shop, show, body.sku))


def _host(rooms: Rooms, request: Request) -> tuple[str, str]:
    return shop_with(rooms, request, "host"), path_id(request, "show")


def _moment(text: str | None) -> str | None:
    """The same moment as we write it, whatever zone it came in."""
    try:
        return rfc3339(parse_rfc3339(text)) if text else None
    except (ValueError, OverflowError):
        raise Invalid("starts_at must be a time with its zone, in RFC 3339.") from None


def _address(video: str | None) -> str | None:
    """A page puts this into a video element, so it may not be a script."""
    try:
        scheme = urlsplit(video or "").scheme
    except ValueError:
        raise Invalid("video is not an address.") from None
    if scheme not in {"", "http", "https"}:
        raise Invalid("video must be an http or https address.")
    return video
