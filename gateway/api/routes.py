"""The table of the front door: every method and path, and who answers it.

``app`` mounts it::

    Starlette(
        routes=[*routes(rooms, desk, limit, registry, readiness, drain), …],
        middleware=[Middleware(CarefulHeaders), …],
        exception_handlers=failures.HANDLERS,
    )
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api import (
    audit,
    catalog,
    orders,
    probes,
    refunds,
    shows,
    stock,
    stripe,
    tickets,
    webhooks,
)
from gateway.api.addresses import Limit, limited
from gateway.api.failures import Endpoint, answering
from gateway.api.inputs import Room
from gateway.checkout.desk import Desk
from gateway.checkout.webhook import ROUTE as STRIPE_ROUTE
from gateway.checkout.webhook import StripeWebhook
from gateway.readiness import Readiness
from gateway.rooms import Rooms
from gateway.settings import Settings

RoomsEndpoint = Callable[[Rooms, Request], Awaitable[Response]]

TABLE: tuple[tuple[str, str, RoomsEndpoint], ...] = (
    ("GET", "/v1/catalog", catalog.read),
    ("PUT", "/v1/catalog", catalog.put),
    ("POST", "/v1/catalog/import", catalog.import_csv),
    ("GET", "/v1/shows/{show}", shows.read),
    ("PUT", "/v1/shows/{show}", shows.put),
    ("POST", "/v1/shows/{show}/start", shows.start),
    ("POST", "/v1/shows/{show}/end", shows.end),
    ("POST", "/v1/shows/{show}/highlight", shows.highlight),
    ("GET", "/v1/stock", stock.read),
    ("GET", "/v1/stock/movements", stock.ledger),
    ("POST", "/v1/stock/movements", stock.move),
    ("GET", "/v1/orders", orders.page),
    ("GET", "/v1/orders/{order}", orders.read),
    ("POST", "/v1/orders/{order}/refunds", refunds.create),
    ("GET", "/v1/webhooks", webhooks.read),
    ("PUT", "/v1/webhooks/{name}", webhooks.put),
    ("DELETE", "/v1/webhooks/{name}", webhooks.remove),
)
"""What takes a key of the shop."""

OPERATIONS = frozenset({"/livez", "/readyz", "/metrics", "/drainz"})
"""What is on the port for operators, where there is one."""
ONLY_OPERATIONS = frozenset({"/metrics", "/drainz"})
"""What is nowhere else then."""


def routes(
    rooms: Rooms,
    desk: Desk,
    limit: Limit,
    registry: CollectorRegistry,
    readiness: Readiness,
    drain: Callable[[], probes.Begun],
) -> list[Route]:
    """Every HTTP route but the pages.

    Args:
        limit: how often one address may ask for tickets.
        readiness: whether this process can do its work.
        drain: has it begin to go away.
    """
    webhook = StripeWebhook(desk, rooms.unknown, rooms.settings, rooms.clock)
    large = Room(stripe.MOST_LARGE_BYTES)
    ticket = limited(limit, partial(tickets.create, rooms))
    return [
        *_for_pages("/v1/tickets", ticket, rooms.settings),
        *_of_shop(rooms),
        _route("GET", "/v1/audit", audit.Audits(rooms).read),
        _route("POST", STRIPE_ROUTE, partial(stripe.receive, webhook, large)),
        _route("GET", "/livez", probes.alive),
        _route("GET", "/readyz", partial(probes.ready, readiness, rooms)),
        _route("POST", "/drainz", partial(probes.drain, rooms, drain)),
        _route("GET", "/metrics", partial(probes.metrics, registry)),
    ]


def _of_shop(rooms: Rooms) -> list[Route]:
    """The table, one route for each path, so that a wrong method is told all that are right."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in TABLE:
        paths.setdefault(path, {})[method] = answering(partial(endpoint, rooms))
    return [Route(path, _by_method(ours), methods=list(ours)) for path, ours in paths.items()]


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def answer(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return answer


def _route(
    method: str, path: str, endpoint: Endpoint, middleware: list[Middleware] | None = None
) -> Route:
    return Route(path, answering(endpoint), methods=[method], middleware=middleware)


def _for_pages(path: str, endpoint: Endpoint, settings: Settings) -> list[Route]:
    """A POST that pages of the allowed origins may send too, with the preflight they need."""
    origins = [origin.strip() for origin in settings.allowed_origins.split(",")]
    pages = [
        Middleware(
            CORSMiddleware,
            allow_origins=[origin for origin in origins if origin],
            allow_methods=["POST"],
            allow_headers=["Content-Type", "Idempotency-Key", "Traceparent"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    ]
    return [
        _route("POST", path, endpoint, pages),
        _route("OPTIONS", path, _no_preflight, pages),
    ]


async def _no_preflight(_: Request) -> Response:
    """A true preflight is answered before it gets here."""
    raise HTTPException(405, headers={"Allow": "POST"})
