"""Orders, pulled by the point of sale: by cursor with long polling, or one by its id."""

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.api.inputs import path_id, query_number
from gateway.errors import NotFound
from gateway.orders.current import find
from gateway.orders.stream import START, OrderStream
from gateway.rooms import Rooms

DEFAULT_LIMIT = 100


async def page(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/orders?after=&limit=&wait_s=``: the events after a cursor, oldest first.

    When there is none yet, the answer waits up to ``wait_s`` seconds for one. ``next`` is the
    cursor of the next request, whether or not there were events.
    """
    shop = shop_with(rooms, request, "pos")
    after = request.query_params.get("after") or START
    limit = query_number(request, "limit", DEFAULT_LIMIT)
    wait_s = query_number(request, "wait_s", 0)
    stream = OrderStream(rooms.lane, shop)
    return as_json(await stream.page_within(after, limit, wait_s, rooms.clock))


async def read(rooms: Rooms, request: Request) -> Response:
    """``GET /v1/orders/{order}``: the latest event of one order."""
    shop = shop_with(rooms, request, "pos")
    event = await find(rooms.lane, shop, path_id(request, "order"))
    if event is None:
        raise NotFound("There is no such order.")
    return as_json(event)
