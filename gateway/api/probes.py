"""What an orchestrator asks: alive, ready, how is it going; and to go away. Only the last needs a
key.
"""

from collections.abc import Callable
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.errors import Forbidden, HoldfastError
from gateway.readiness import Readiness
from gateway.rooms import Rooms


class Begun(Protocol):
    """A drain, as it was when it began."""

    @property
    def within_ms(self) -> int:
        """How long it takes at most."""

    @property
    def sockets(self) -> int:
        """How many were connected."""


async def alive(_: Request) -> Response:
    """``GET /livez``: the process serves; whether its parts do is the business of ``ready``."""
    return as_json({"status": "alive"})


async def ready(readiness: Readiness, rooms: Rooms, request: Request) -> Response:
    """``GET /readyz``, or ``/readyz?verbose``. Addresses are only told on the port that is not
    public, or to a key of the installation's own shop.
    """
    return await readiness.answer(
        verbose="verbose" in request.query_params, private=is_private(rooms, request)
    )


def is_private(rooms: Rooms, request: Request) -> bool:
    """Whether the request came by the port for SREs, or with an admin key of our own shop."""
    settings = rooms.settings
    host_and_port = request.scope.get("server")
    if settings.metrics_port and host_and_port and host_and_port[1] == settings.metrics_port:
        return True
    try:
        return shop_with(rooms, request, "admin") == settings.shop
    except HoldfastError:
        return False


async def drain(rooms: Rooms, begin: Callable[[], Begun], request: Request) -> Response:
    """``POST /drainz``: send every viewer elsewhere. The process goes on until it is told to stop.

    Again is harmless: the answer is the first one. All shops that are served here are concerned, so
    that the key must be of the installation's own shop.
    """
    if shop_with(rooms, request, "admin") != rooms.settings.shop:
        raise Forbidden("Only a key of this installation's own shop may drain a process.")
    begun = begin()
    return as_json({"within_ms": begun.within_ms, "sockets": begun.sockets}, 202)


async def metrics(registry: CollectorRegistry, _: Request) -> Response:
    """``GET /metrics``, as Prometheus reads it."""
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
