"""What a request brings: its body, its path, its query; bounded and checked, one clear error each.

JSON is decoded straight into the wire's types (``strict_json``). A card number is refused wherever
it is found.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.requests import Request

from gateway import strict_json
from gateway.api.refusals import NoKey, NotJson, TooLarge, WrongMediaType
from gateway.cards import refuse_card_numbers
from gateway.errors import Invalid, Overloaded
from gateway.model import ID_PATTERN

T = TypeVar("T")

MAX_OPEN_BODY = 16_384
"""Bytes of a body that anybody may send, without a key."""

MAX_SMALL_BODY = 65_536
"""Bytes of a body that need not share room with others."""
_RETRY_MS = 1_000
_LARGE = 65_536
"""From so many bytes on, a body is decoded beside the loop, which has sockets to serve."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_KEPT_HEADERS = ("idempotency-key",)


@dataclass(slots=True)
class Room:
    """For what is large of the bodies that anybody may send, of all requests together."""

    most: int
    """Bytes."""
    taken: int = 0


async def read_body(
    request: Request, media_type: str, limit: int, room: Room | None = None
) -> bytes:
    """Read a body of at most ``limit`` bytes, of the given media type.

    Args:
        room: where what is over ``MAX_SMALL_BODY`` must find its place while it is read.

    Raises:
        WrongMediaType, TooLarge: it was not read to its end.
        Overloaded: neither was it, for others are sending large ones.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise WrongMediaType(f"Send the body with Content-Type: {media_type}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMediaType("Send the body without a Content-Encoding.")
    length = request.headers.get("content-length", "")
    if _NUMBER.fullmatch(length) and int(length) > limit:
        raise _too_large(limit)
    body, large = bytearray(), 0
    room = room or Room(limit)
    try:
        async for chunk in request.stream():  # The server ends a body that does not get on.
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
            more = max(0, len(body) - MAX_SMALL_BODY) - large
            if room.taken + more > room.most:
                raise Overloaded("Too much is sent here; try again.", retry_after_ms=_RETRY_MS)
            room.taken += more
            large += more
    finally:
        room.taken -= large
    return bytes(body)


async def read_json(request: Request, decoder: msgspec.json.Decoder[T], limit: int) -> T:
    """Read a JSON body into the decoder's type.

    Raises:
        Invalid: it is not of that type; the message names the field.
        NotJson, WrongMediaType, TooLarge: it was not even decoded.
    """
    body = await read_body(request, "application/json", limit)
    if len(body) > _LARGE:
        return await asyncio.to_thread(parse_json, body, decoder)
    return parse_json(body, decoder)


def parse_json(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode JSON into the decoder's type.

    Raises:
        NotJson: it is not JSON, or nested beyond reason.
        Invalid: it is not of that type, or ambiguous, or holds a card number.
    """
    try:
        return strict_json.decode(body.decode(), decoder)
    except msgspec.ValidationError as error:
        raise Invalid(in_words(error)) from None
    except UnicodeDecodeError:
        raise NotJson("The body is not JSON.") from None
    except strict_json.NotJson as error:
        raise NotJson(f"{error}") from None
    except strict_json.NotStrict as error:
        raise Invalid(f"{error}") from None


def in_words(error: msgspec.ValidationError) -> str:
    """Say what is wrong with which field."""
    rule, _, path = str(error).partition(" - at ")
    field = path.replace("`", "").replace("$.", "").removeprefix("$")
    return f"{field}: {rule}." if field else f"{rule}."


def check_address(request: Request) -> None:
    """Look for card numbers in what comes beside the body and may be kept or answered.

    Raises:
        Invalid: there is one.
    """
    query = (part for pair in request.query_params.multi_items() for part in pair)
    headers = (request.headers.get(name, "") for name in _KEPT_HEADERS)
    refuse_card_numbers("#".join((request.scope["path"], *query, *headers)))


def path_id(request: Request, name: str) -> str:
    """An id out of the path.

    Raises:
        Invalid: it is none.
    """
    value = str(request.path_params[name])
    if not re.fullmatch(ID_PATTERN, value):
        raise Invalid(f"{name} has 1 to 64 letters, digits, _ and -.")
    return value


def idempotency_key(request: Request) -> str:
    """The ``Idempotency-Key``, for what would be done twice without one.

    Raises:
        NoKey: there is none, or it is not a key.
    """
    key = request.headers.get("idempotency-key", "")
    if not _KEY.fullmatch(key):
        raise NoKey("Send an Idempotency-Key of 1 to 255 visible ASCII characters.")
    return key


def query_number(request: Request, name: str, default: int) -> int:
    """A whole number out of the query; its bounds are the business of whoever uses it.

    Raises:
        Invalid: it is none.
    """
    value = request.query_params.get(name, str(default))
    if not _NUMBER.fullmatch(value):
        raise Invalid(f"{name} must be a whole number.")
    return int(value)


def query_flag(request: Request, name: str) -> bool:
    """``true`` or ``false`` out of the query; absent is ``false``.

    Raises:
        Invalid: it is something else.
    """
    value = request.query_params.get(name, "false")
    if value not in {"true", "false"}:
        raise Invalid(f"{name} must be true or false.")
    return value == "true"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.", limit=limit)
