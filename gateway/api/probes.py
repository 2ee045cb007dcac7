"""What an orchestrator asks: alive, ready, how is it going. No key is needed."""

import asyncio
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.durability import Durability
from gateway.errors import HoldfastError, Unavailable
from gateway.lane import Lane
from gateway.problems import problem

PING_WITHIN_S = 1.0
"""Longer than one attempt of the lane, shorter than a probe's usual patience."""


async def alive(_: Request) -> Response:
    """``GET /livez``: the process serves; whether its parts do is the business of ``ready``."""
    return as_json({"status": "alive"})


async def ready(
    lane: Lane, durability: Durability, draining: Callable[[], bool], request: Request
) -> Response:
    """``GET /readyz``: 200, or 503 with a word for everything that fails.

    With ``?verbose``, who is ready says which mode holds and what undermines it; that fails nobody.
    """
    failing = []
    if draining():
        failing.append("draining")
    if not await _answers(lane):
        failing.append("redis")
    if not failing:
        if "verbose" not in request.query_params:
            return as_json({"status": "ready"})
        report = await durability.report()
        return as_json({"status": "ready", "mode": report.mode, "findings": report.findings})
    detail = f"Not ready: {', '.join(failing)}."
    return problem(Unavailable.status, Unavailable.code, detail, {"failing": failing})


async def metrics(registry: CollectorRegistry, _: Request) -> Response:
    """``GET /metrics``, as Prometheus reads it."""
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _answers(lane: Lane) -> bool:
    try:
        async with asyncio.timeout(PING_WITHIN_S):
            await lane.command("PING")
    except (HoldfastError, TimeoutError):
        return False
    return True
