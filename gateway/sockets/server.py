"""Uvicorn's WebSocket class, mended where a shopper or a stop would suffer.

The base class is not public API: uvicorn is pinned, and a test fails when what we rely on moves.
"""

from asyncio import BaseTransport
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

GRACE_S = 3.0
"""How long a peer may take to read what is left and say goodbye before its connection is cut."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """One socket of the server.

    Wherever the base class ends a connection with ``transport.close()``, that waits for a buffer
    which a stalled peer never drains, so the connection would stay for good. Here it is cut after
    a grace.
    """

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody has connected.

        The library would log each frame and header at DEBUG: tickets, addresses, and what a shopper
        typed by mistake.
        """
        super().connection_made(transport)
        self.conn.debug = False

    async def send(self, message: "ASGISendEvent") -> None:
        """Send what the application says.

        A refusal completes the handshake; without saying so uvicorn logs each one as an error. The
        address of a socket that is closed before it was accepted is none of ours, and uvicorn would
        log it with whatever it holds.
        """
        if message["type"] == "websocket.close" and not self.handshake_complete:
            self.scope["path"], self.scope["query_string"] = "", b""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """Run the application for this socket."""
        await super().run_asgi()
        self._cut_after_grace()

    def keepalive_timeout(self) -> None:
        """The peer did not answer a ping."""
        super().keepalive_timeout()
        self._cut_after_grace()

    def shutdown(self) -> None:
        """The process stops."""
        super().shutdown()
        self._cut_after_grace()

    def _cut_after_grace(self) -> None:
        self.loop.call_later(GRACE_S, self.transport.abort)
