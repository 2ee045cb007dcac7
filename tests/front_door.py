"""The HTTP front door for tests: its routes as one application, called without a socket."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.middleware import Middleware

from gateway.api.addresses import Limit
from gateway.api.answers import CarefulHeaders
from gateway.api.failures import HANDLERS
from gateway.api.routes import routes
from gateway.checkout.desk import Desk
from gateway.problems import MEDIA_TYPE
from gateway.readiness import Hearing, Readiness
from gateway.rooms import Rooms
from gateway.sockets.drain import Begun
from gateway.sockets.listener import NewsListener
from gateway.tickets import Scope

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """Asks as a program of the shop with one scope, or as anybody."""

    rooms: Rooms
    client: httpx.AsyncClient

    @property
    def shop(self) -> str:
        return self.rooms.settings.shop

    def key(self, *scopes: Scope) -> dict[str, str]:
        """The header of a key of the shop."""
        return {"Authorization": f"Bearer {self.rooms.tokens.sign_key(self.shop, scopes)}"}

    async def ask(
        self,
        method: str,
        path: str,
        *scopes: Scope,
        json: object = None,
        content: str | bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request with a key of these scopes, or with none."""
        carried = (self.key(*scopes) if scopes else {}) | dict(headers or {})
        return await self.client.request(
            method, path, json=json, content=content, params=params, headers=carried
        )

    async def get(self, path: str, *scopes: Scope, **query: str | int) -> Json:
        """GET what must be there."""
        answer = await self.ask("GET", path, *scopes, params=query)
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body


@contextlib.asynccontextmanager
async def open_door(
    rooms: Rooms,
    desk: Desk,
    draining: Callable[[], bool] = lambda: False,
    hearing: Hearing | None = None,
    drain: Callable[[], Begun] = lambda: Begun(0, 0),
) -> AsyncIterator[Door]:
    """The front door of these rooms."""
    registry = CollectorRegistry()
    Counter("holdfast_tests", "Something to show", registry=registry).inc()
    limit = Limit(rooms.settings.tickets_per_address_per_s, rooms.clock)
    readiness = Readiness(
        *(rooms.lane, rooms.durability, rooms.clock, rooms.payments.provider, rooms.recovery),
        hearing=hearing or NewsListener(rooms),
        draining=draining,
    )
    app = Starlette(
        routes=routes(rooms, desk, limit, registry, readiness, drain),
        middleware=[Middleware(CarefulHeaders)],
        exception_handlers=dict(HANDLERS),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door.test:8080") as client:
        yield Door(rooms, client)


def problem(answer: httpx.Response, status: int, code: str) -> Json:
    """The problem an answer tells, which must be this one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body: Json = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:holdfast:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body
