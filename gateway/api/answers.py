"""What every answer has: JSON, and headers that keep browsers and caches from guessing."""

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def as_json(body: object, status: int = 200) -> Response:
    """Answer with a value of the wire's types."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class CarefulHeaders:
    """Middleware: no answer's type is guessed, and none is cached that does not say how."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; sockets pass untouched."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)
