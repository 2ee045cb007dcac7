"""The sandbox as one ASGI application: its parts, put together."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.sandbox.stripe import desk as front
from gateway.sandbox.stripe import endpoints, keys, refusal
from gateway.sandbox.stripe.acquirer import Acquirer
from gateway.sandbox.stripe.bench import Bench
from gateway.sandbox.stripe.control import Control
from gateway.sandbox.stripe.desk import Desk
from gateway.sandbox.stripe.events import Journal
from gateway.sandbox.stripe.faults import FaultPlan, Faults
from gateway.sandbox.stripe.idempotency import Keys
from gateway.sandbox.stripe.ids import Ids
from gateway.sandbox.stripe.intents import Intents
from gateway.sandbox.stripe.limit import Limiter
from gateway.sandbox.stripe.methods import Methods
from gateway.sandbox.stripe.secondstep import PAGE, SecondStep
from gateway.sandbox.stripe.store import Store
from gateway.sandbox.stripe.webhooks import Target, Webhooks


@dataclass(frozen=True, slots=True)
class Settings:
    """How the sandbox runs; limits are requests a second, 0 lifts one."""

    data: str = ":memory:"
    per_endpoint: float = 25
    per_account: float = 100
    webhook: Target | None = None
    faults: FaultPlan = field(default_factory=FaultPlan)


def build(settings: Settings, clock: Callable[[], float], rng: random.Random) -> Starlette:
    """Put the parts together; `clock` gives seconds since 1970, `rng` makes ids and dice."""
    store = Store(settings.data)
    ids = Ids(rng)
    faults = Faults(settings.faults, rng)
    journal = Journal(store, ids, clock, delivered=settings.webhook is not None)
    bench = Bench(store, ids, clock, journal)
    methods = Methods(bench)
    acquirer = Acquirer(bench, faults)
    steps = SecondStep(bench, acquirer, faults)
    intents = Intents(bench, methods, acquirer, steps, faults)
    webhooks = Webhooks(settings.webhook, store, clock, faults)
    limiter = Limiter(settings.per_endpoint, settings.per_account, clock)
    desk = Desk(bench, limiter, Keys(store, clock), faults, webhooks)
    table = endpoints.table(bench, intents, methods, Control(bench, webhooks), faults)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        delivering = asyncio.create_task(webhooks.run())
        yield
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        store.close()

    return Starlette(
        routes=[
            *(
                Route(endpoint.path, partial(desk.answer, endpoint), methods=[endpoint.method])
                for endpoint in table
            ),
            Route("/v1/sandbox/faults", partial(_faults, faults), methods=["GET", "POST"]),
            *_for_pages(desk, endpoints.for_pages(steps, methods)),
            Route("/{path:path}", front.unknown, methods=["GET", "POST", "DELETE"]),
        ],
        lifespan=lifespan,
    )


def _for_pages(desk: Desk, table: list[endpoints.Endpoint]) -> list[Route]:
    """What a browser may call from any origin, because it needs no key of the shop's."""
    from_anywhere = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["POST"],
        allow_headers=["content-type", "idempotency-key"],
    )
    return [
        *(
            Route(
                endpoint.path,
                partial(desk.answer, endpoint, public=True),
                methods=["POST", "OPTIONS"],
                middleware=[from_anywhere],
            )
            for endpoint in table
        ),
        Route("/v1/sandbox/payment_intents/{id}/second_step", _second_step, methods=["GET"]),
    ]


async def _second_step(_: Request) -> Response:
    return HTMLResponse(
        PAGE, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    )


async def _faults(faults: Faults, request: Request) -> Response:
    """GET shows the plan in force, POST replaces it: JSON in, JSON out."""
    try:
        keys.check(request.headers.get("authorization"))
        if request.method == "POST":
            faults.switch(msgspec.json.decode(await request.body() or b"{}", type=FaultPlan))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refused = refusal.malformed(f"Invalid faults: {error}")
        return _as_json({"error": refused.error}, refused.status)
    except refusal.RefusedError as refused:
        return _as_json({"error": refused.error}, refused.status)
    return _as_json(faults.plan)


def _as_json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
