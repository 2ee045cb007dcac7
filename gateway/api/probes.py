"""What an orchestrator asks: alive, ready, how is it going; and to go away. Only the last needs a
key.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.durability import Durability
from gateway.errors import Forbidden, Unavailable
from gateway.lane import Address, Lane
from gateway.problems import problem
from gateway.rooms import Rooms

PING_WITHIN_S = 1.0
"""Longer than one attempt of the lane, shorter than a probe's usual patience."""


class Hearing(Protocol):
    """What the viewers of this process are told what is new by."""

    @property
    def deaf(self) -> bool:
        """Whether they are told nothing."""

    @property
    def unheard(self) -> Sequence[Address]:
        """Servers of a cluster of whose shops they are told nothing."""


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


async def ready(
    lane: Lane,
    hearing: Hearing,
    durability: Durability,
    draining: Callable[[], bool],
    request: Request,
) -> Response:
    """``GET /readyz``: 200, or 503 with a word for everything that fails.

    On a cluster a process is ready as long as one primary answers, and names those that do not:
    whoever took it out of service for the sake of some shops would take it from all the others.
    The same goes for the news: it fails when that of no server with viewers here is heard.
    With ``?verbose``, who is ready says which mode holds and what undermines it; that fails nobody.
    """
    failing = []
    if draining():
        failing.append("draining")
    answering, silent = await _servers(lane)
    if not answering:
        failing.append("redis")
    if hearing.deaf:
        failing.append("news")
    silent = sorted({*silent, *(_name(server) for server in hearing.unheard)})
    if not failing:
        said: dict[str, object] = {"status": "ready"}
        if silent:
            said["silent"] = silent
        if "verbose" in request.query_params:
            report = await durability.report()
            said |= {"mode": report.mode, "findings": report.findings}
        return as_json(said)
    detail = f"Not ready: {', '.join(failing)}."
    return problem(Unavailable.status, Unavailable.code, detail, {"failing": failing})


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


async def _servers(lane: Lane) -> tuple[int, list[str]]:
    """How many servers with stock answer, and the addresses of a cluster's that do not."""
    asked = lane.ping()
    await asyncio.wait(asked.values(), timeout=PING_WITHIN_S)
    silent = [at for at, pong in asked.items() if not pong.done() or pong.exception()]
    return len(asked) - len(silent), [_name(server) for server in silent if server]


def _name(server: Address) -> str:
    return f"{server[0]}:{server[1]}"
