"""The gateway process: joins the rooms, opens the front doors, and runs what runs beside them."""

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import routes as api
from gateway.api.answers import CarefulHeaders
from gateway.api.failures import HANDLERS
from gateway.api.requests import Requests
from gateway.api.tickets import SOCKET_PATH
from gateway.checkout.desk import Desk
from gateway.checkout.payment import Payments
from gateway.claims.address import open_claims
from gateway.claims.table import Claims
from gateway.clock import Clock, SystemClock
from gateway.lane import Lane
from gateway.metrics.gateway import registry
from gateway.otlp.address import open_tracer
from gateway.process import allow_files
from gateway.rooms import Rooms, join
from gateway.settings import Settings
from gateway.sockets.door import Door
from gateway.sockets.drain import Drain, Server
from gateway.sockets.endpoint import Endpoint
from gateway.sockets.listener import NewsListener
from gateway.sockets.server import serving
from gateway.sockets.tally import feel_loop
from gateway.web import pages

log = logging.getLogger(__name__)

_OTHER_FILES = 512
"""What is open besides sockets: requests and refusals, Redis, Stripe, the claims table."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything one gateway process is made of."""

    rooms: Rooms
    desk: Desk
    listener: NewsListener
    door: Door
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
        try:
            if self.rooms.claims:
                await self.rooms.claims.ready()
            yield
        finally:
            await self.drain.aclose()
            await self.desk.close()
            await self.rooms.recovery.aclose()
            for task in (told, felt, listener, lane):
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
    return Gateway(rooms, desk, NewsListener(rooms), door, Drain(door, settings.drain_s))


def application(gateway: Gateway) -> ASGIApp:
    """The ASGI application of a gateway.

    Sockets go straight to their endpoint: what the framework has for requests would wait below
    each of thousands of viewers, eight coroutines deep.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    rooms, desk, listener, door = gateway.rooms, gateway.desk, gateway.listener, gateway.door
    endpoint = Endpoint(rooms, desk, listener, door)
    numbers = registry(rooms, desk, listener, door, listener.tally)
    app = Starlette(
        routes=[
            *api.routes(rooms, desk, numbers, listener, lambda: door.draining, gateway.drain.begin),
            *pages.routes(rooms.settings),
        ],
        middleware=[Middleware(CarefulHeaders)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    requests = Requests(app, rooms.tracer, rooms.rng)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == SOCKET_PATH:
            await endpoint(scope, receive, send)
        else:
            await requests(scope, receive, send)

    return front


def serve(settings: Settings) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    settings = _within(settings, allow_files(settings.sockets + _OTHER_FILES))
    lane = Lane(settings)
    gateway = assemble(
        settings,
        clock=SystemClock(),
        rng=random.SystemRandom(),
        lane=lane,
        payments=Payments(settings, lane, SystemClock()),
        claims=open_claims(settings),
    )
    server(gateway).run()


def _within(settings: Settings, files: int) -> Settings:
    """The settings, with no more sockets than there may be files."""
    sockets = max(1, min(settings.sockets, files - _OTHER_FILES))
    if sockets < settings.sockets:
        log.warning(
            "The system allows %d open files: %d sockets are served, not %d; raise its limit.",
            *(files, sockets, settings.sockets),
        )
    return msgspec.structs.replace(settings, sockets=sockets)


def server(gateway: Gateway) -> Server:
    """The server of a gateway; it does not listen yet."""
    ws = serving(gateway.door, gateway.rooms.rng)
    config = configuration(gateway.rooms.settings, application(gateway), ws)
    return Server(config, gateway.drain)


def configuration(settings: Settings, app: ASGIApp, ws: type[asyncio.Protocol]) -> uvicorn.Config:
    """How uvicorn serves us; ``ws`` makes the protocol of an upgrade."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ws=ws,
        ws_max_size=settings.max_frame_bytes,
        ws_ping_interval=settings.ping_s,
        ws_ping_timeout=settings.ping_s,
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
    )
