"""Every request has an id, which its answer and its log lines carry, and is a step of a trace.

A caller may bring both: ``X-Request-ID``, and ``traceparent``. What is not well formed is replaced,
or ignored. Requests to our own routes begin a trace; those of a page's files and of probes do not.
"""

import random

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.checkout.webhook import ROUTE as STRIPE_ROUTE
from gateway.logs import REQUEST_ID, request_id_of
from gateway.traces import Kind, Step, Tracer, about, parse

_BROKEN = 500


class Requests:
    """Wraps the application that answers requests; anything else passes untouched."""

    def __init__(self, app: ASGIApp, tracer: Tracer, rng: random.Random) -> None:
        self._app = app
        self._tracer = tracer
        self._rng = rng

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        request_id = request_id_of(headers, self._rng)
        with about(request=request_id), self._step(scope, headers, request_id) as step:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[REQUEST_ID] = request_id
                    _note(step, scope, message["status"])
                await send(message)

            await self._app(scope, receive, told)

    def _step(self, scope: Scope, headers: Headers, request_id: str) -> Step:
        brought = headers.getlist("traceparent")
        trace = parse(brought[0]) if len(brought) == 1 else None
        # Stripe brings none; its webhook goes on in the trace of the purchase it is about.
        if not trace and scope["path"].startswith("/v1/") and scope["path"] != STRIPE_ROUTE:
            trace = self._tracer.fresh(request_id)
        method = {"http.request.method": scope["method"]}
        return self._tracer.enter(trace, scope["method"], Kind.SERVER, method)


def _note(step: Step, scope: Scope, status: int) -> None:
    """What is known once there is an answer."""
    step.note({"http.response.status_code": status})
    if route := scope.get("route"):
        # The path with the names of its parameters: their values are too many to count by.
        step.note({"http.route": route.path_format})
        step.rename(f"{scope['method']} {route.path_format}")
    if status >= _BROKEN:
        step.note({"error.type": str(status)})
