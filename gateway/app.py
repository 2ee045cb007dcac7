"""The gateway process: joins the rooms, opens the front doors, and runs what runs beside them."""

import asyncio
import contextlib
import logging
import random
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from gateway.api import routes as api
from gateway.api.addresses import Limit
from gateway.api.answers import CarefulHeaders
from gateway.api.failures import HANDLERS
from gateway.api.hall import Hall
from gateway.api.requests import Requests
from gateway.api.server import listening
from gateway.api.tickets import SOCKET_PATH
from gateway.checkout.desk import Desk
from gateway.checkout.payment import Payments
from gateway.claims.address import open_claims
from gateway.claims.table import Claims
from gateway.clock import Clock, SystemClock
from gateway.environment import listed
from gateway.garbage import Garbage
from gateway.lane import Lane
from gateway.metrics.gateway import registry
from gateway.metrics.serving import listen
from gateway.otlp.address import open_tracer
from gateway.process import allow_files
from gateway.readiness import Readiness
from gateway.rooms import Rooms, join
from gateway.settings import Settings
from gateway.sockets.door import Door
from gateway.sockets.drain import Apart, Drain, Server
from gateway.sockets.endpoint import Endpoint
from gateway.sockets.listener import NewsListener
from gateway.sockets.server import serving
from gateway.sockets.tally import feel_loop
from gateway.web import pages

log = logging.getLogger(__name__)

_OTHER_FILES = 512
"""What is open besides sockets and connections: who is refused, Redis, Stripe, the claims table,
and those who look after us."""
_OPERATORS = 64
"""Connections of the port for operators."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything one gateway process is made of."""

    rooms: Rooms
    desk: Desk
    listener: NewsListener
    door: Door
    hall: Hall
    limit: Limit
    drain: Drain

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what runs beside the requests, and stop it in the right order."""
        lane = asyncio.create_task(self.rooms.lane.run())
        listener = asyncio.create_task(self.listener.run())
        for task in (lane, listener):
            task.add_done_callback(_stop_unless_cancelled)
        told = asyncio.create_task(self.rooms.durability.log())
        felt = asyncio.create_task(feel_loop(self.listener.tally))
        garbage = asyncio.create_task(Garbage(self.listener.tally.commands.total).run())
        try:
            if self.rooms.claims:
                await self.rooms.claims.ready()
            yield
        finally:
            await self.drain.aclose()
            await self.desk.close()
            await self.rooms.recovery.aclose()
            for task in (told, felt, garbage, listener, lane):
                task.cancel()
                [outcome] = await asyncio.gather(task, return_exceptions=True)
                if isinstance(outcome, Exception):
                    log.error("a part of the gateway had broken", exc_info=outcome)
            await self.rooms.payments.aclose()
            if self.rooms.claims:
                await self.rooms.claims.aclose()
            await self.rooms.tracer.aclose()


def _stop_unless_cancelled(task: asyncio.Task[None]) -> None:
    """Without its lane or its news a gateway would go on answering, and answer wrongly."""
    if not task.cancelled():
        log.critical("a part of the gateway broke; stopping", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # A second one, so that it does not serve on to drain.


def assemble(
    settings: Settings,
    *,
    clock: Clock,
    rng: random.Random,
    lane: Lane,
    payments: Payments,
    claims: Claims | None = None,
) -> Gateway:
    """Make a gateway; nothing is opened yet but the way of its spans."""
    tracer = open_tracer(settings, "gateway")
    rooms = join(settings, clock, rng, lane, payments, claims, tracer)
    desk = Desk(rooms.settler, settings, rng)
    door = Door(settings.sockets)
    hall = hall_of(settings, settings.connections)
    limit = Limit(settings.tickets_per_address_per_s, clock)
    drain = Drain(door, settings.drain_s)
    return Gateway(rooms, desk, NewsListener(rooms), door, hall, limit, drain)


@dataclass(frozen=True, slots=True)
class Applications:
    """What a gateway serves: to everybody, and on the port for operators if there is one."""

    public: ASGIApp
    operations: ASGIApp


def applications(gateway: Gateway) -> Applications:
    """The ASGI applications of a gateway.

    Sockets go straight to their endpoint: what the framework has for requests would wait below
    each of thousands of viewers, eight coroutines deep.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    rooms, desk, listener, door = gateway.rooms, gateway.desk, gateway.listener, gateway.door
    endpoint = Endpoint(rooms, desk, listener, door)
    readiness = Readiness(
        *(rooms.lane, rooms.durability, rooms.clock, rooms.payments.provider, rooms.recovery),
        hearing=listener,
        draining=lambda: door.draining,
    )
    numbers = registry(rooms, desk, listener, door, gateway.hall, gateway.limit, readiness)
    routes = api.routes(rooms, desk, gateway.limit, numbers, readiness, gateway.drain.begin)
    hidden = api.ONLY_OPERATIONS if rooms.settings.metrics_port else ()
    shown = [route for route in routes if route.path not in hidden]
    app = _framework([*shown, *pages.routes(rooms.settings)], lifespan)
    requests = Requests(app, rooms.tracer, rooms.rng)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == SOCKET_PATH:
            await endpoint(scope, receive, send)
        else:
            await requests(scope, receive, send)

    operations = [route for route in routes if route.path in api.OPERATIONS]
    return Applications(front, Requests(_framework(operations), rooms.tracer, rooms.rng))


def _framework(
    routes: Sequence[BaseRoute], lifespan: Lifespan[Starlette] | None = None
) -> Starlette:
    return Starlette(
        routes=routes,
        middleware=[Middleware(CarefulHeaders)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )


def serve(settings: Settings) -> None:
    """Run a gateway until SIGTERM or SIGINT.

    Raises:
        SettingsError: nothing can listen on the port for operators.
    """
    wanted = settings.sockets + settings.connections + _OTHER_FILES
    settings = _within(settings, allow_files(wanted))
    operators = listen(settings)
    lane = Lane(settings)
    gateway = assemble(
        settings,
        clock=SystemClock(),
        rng=random.SystemRandom(),
        lane=lane,
        payments=Payments(settings, lane, SystemClock()),
        claims=open_claims(settings),
    )
    server(gateway, operators).run()


def _within(settings: Settings, files: int) -> Settings:
    """The settings, with no more sockets and connections than there may be files."""
    connections = min(settings.connections, max(1, files // 6))
    sockets = max(1, min(settings.sockets, files - connections - _OTHER_FILES))
    if sockets < settings.sockets:
        log.warning(
            "The system allows %d open files: %d sockets are served, not %d; raise its limit.",
            *(files, sockets, settings.sockets),
        )
    return msgspec.structs.replace(settings, sockets=sockets, connections=connections)


def server(gateway: Gateway, operators: socket.socket | None = None) -> Server:
    """The server of a gateway, with a second port or without; it does not listen yet."""
    settings, served = gateway.rooms.settings, applications(gateway)
    ws = serving(gateway.door, gateway.rooms.rng)
    http = listening(gateway.hall)
    config = configuration(settings, served.public, ws, http)
    if operators is None:
        return Server(config, gateway.drain)
    hall = hall_of(settings, _OPERATORS)
    own = configuration(settings, served.operations, None, listening(hall))
    return Server(config, gateway.drain, Apart(operators, own))


def hall_of(settings: Settings, most: int) -> Hall:
    """The bounds of connections that are no sockets."""
    return Hall(
        most, settings.header_timeout_s, settings.body_timeout_s, float(settings.slow_grace_s)
    )


def configuration(
    settings: Settings,
    app: ASGIApp,
    ws: type[asyncio.Protocol] | None,
    http: type[asyncio.Protocol] | Literal["httptools"] = "httptools",
) -> uvicorn.Config:
    """How uvicorn serves us; ``http`` makes the protocol of a connection, ``ws`` of an upgrade.

    Left alone, uvicorn would believe whoever connects from this machine that he speaks for others.
    """
    proxies = listed(settings.trusted_proxies)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=http,
        ws=ws or "none",
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        ws_max_size=settings.max_frame_bytes,
        ws_ping_interval=settings.ping_s,
        ws_ping_timeout=settings.ping_s,
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
    )
