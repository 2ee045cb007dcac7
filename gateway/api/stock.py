"""Stock as it is, and what the point of sale reports about it."""

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.api.inputs import in_words, query_number, read_json
from gateway.errors import Invalid
from gateway.keys import ShopKeys
from gateway.model import Id, Movement
from gateway.rooms import Rooms
from gateway.stock.ledger import START, Booked
from gateway.stock.ledger import page as ledger_page
from gateway.stock.movements import MAX_BATCH, MovementResult, StockLine

_FIRST_EPOCH = 1
_DEFAULT_LIMIT = 200


class Stock(Struct, frozen=True):
    """Units available by sku, as viewers see them, and every quantity by location."""

    epoch: int
    version: int
    items: dict[str, int]
    locations: tuple[StockLine, ...]


class MovementsBody(Struct, frozen=True):
    """A batch, each movement still as it came, so that a bad one spoils no other."""

    movements: tuple[msgspec.Raw, ...]


class MovementResults(Struct, frozen=True):
    """What became of each movement, in the order of the batch."""

    results: tuple[MovementResult, ...]


class Ledger(Struct, frozen=True):
    """Movements as they are in the ledger, and the cursor that continues after them."""

    movements: tuple[Booked, ...]
    next: str


class _Reference(Struct, frozen=True):
    reference_id: Id


_BODY: msgspec.json.Decoder[MovementsBody | tuple[msgspec.Raw, ...]] = msgspec.json.Decoder(
    MovementsBody | tuple[msgspec.Raw, ...]
)
_MOVEMENT = msgspec.json.Decoder(Movement)
_REFERENCE = msgspec.json.Decoder(_Reference)


async def read(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/stock``: the quantities are at least as new as ``version``."""
    shop = shop_with(rooms, request, "pos")
    meta = rooms.lane.command("HMGET", ShopKeys(shop).meta, "epoch", "version")
    lines = await rooms.movements.lines(shop)
    epoch, version = await meta
    items: dict[str, int] = {}
    for line in lines:
        items[line.sku] = items.get(line.sku, 0) + max(0, line.available)
    return as_json(Stock(int(epoch or _FIRST_EPOCH), int(version or 0), items, lines))


async def ledger(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/stock/movements?after=&limit=``: the ledger after a cursor, oldest first.

    ``next`` is the cursor of the next request, whether or not there were movements. A shopper is
    told by a name that is always the same one's, and says nothing about who it is.
    """
    shop = shop_with(rooms, request, "pos")
    after = request.query_params.get("after") or START
    limit = query_number(request, "limit", _DEFAULT_LIMIT)
    found = await ledger_page(rooms.lane, shop, after, limit)
    movements = tuple(
        msgspec.structs.replace(one, shopper=rooms.tokens.guest(shop, f"ledger {one.shopper}"))
        if one.shopper
        else one
        for one in found.movements
    )
    return as_json(Ledger(movements, found.next))


async def move(rooms: Rooms, request: Request) -> Response:
    """``POST /v1/stock/movements``: apply a batch, ``{"movements": […]}`` or the bare list.

    ``reference_id`` makes sending a movement again safe, in this batch's company or another's.
    """
    shop = shop_with(rooms, request, "pos")
    body = await read_json(request, _BODY, rooms.settings.max_body_bytes)
    batch = body.movements if isinstance(body, MovementsBody) else body
    if len(batch) > MAX_BATCH:
        raise Invalid(f"Send at most {MAX_BATCH} movements at once.")
    read_ones = [_movement(index, raw) for index, raw in enumerate(batch)]
    references = [one.reference_id for one in read_ones]
    if len(set(references)) < len(references):
        raise Invalid("A reference_id appears twice in this batch.")
    good = tuple(one for one in read_ones if isinstance(one, Movement))
    results = {one.reference_id: one for one in read_ones if isinstance(one, MovementResult)}
    results |= {one.reference_id: one for one in await rooms.movements.apply(shop, good)}
    return as_json(MovementResults(tuple(results[reference] for reference in references)))


def _movement(index: int, raw: msgspec.Raw) -> Movement | MovementResult:
    """Read one movement, or say what is wrong with it under its own reference."""
    try:
        return _MOVEMENT.decode(raw)
    except msgspec.ValidationError as error:
        message = in_words(error)
    try:
        reference = _REFERENCE.decode(raw).reference_id
    except msgspec.ValidationError as error:
        # Without a reference there is no telling the caller which one is wrong, but by its place.
        raise Invalid(f"movements[{index}]: {in_words(error)}") from None
    return MovementResult(reference, "error", code=Invalid.code, message=message)
