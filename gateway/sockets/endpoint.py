"""The address of the sockets, ``/v1/live``: who is refused before the upgrade, and all others."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.checkout.desk import Desk
from gateway.errors import Forbidden, HoldfastError, Invalid
from gateway.logs import REQUEST_ID, request_id_of
from gateway.messages import SUBPROTOCOL
from gateway.problems import of_error
from gateway.rooms import Rooms
from gateway.sockets.connection import Connection
from gateway.sockets.door import Door
from gateway.sockets.listener import NewsListener
from gateway.sockets.watch import Watch


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The ASGI application of ``/v1/live``."""

    rooms: Rooms
    desk: Desk
    listener: NewsListener
    door: Door
    watch: Watch = field(default_factory=Watch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket."""
        socket = WebSocket(scope, receive, send)
        try:
            self._admit(socket)
        except HoldfastError as error:
            self.door.refused[error.code] += 1
            scope["query_string"] = b""  # The server logs the address, and a token may be in it.
            answer = of_error(error)
            answer.headers[REQUEST_ID] = request_id_of(socket.headers, self.rooms.rng)
            await socket.send_denial_response(answer)
            return
        await socket.accept(subprotocol=SUBPROTOCOL)
        connection = Connection(socket, self.rooms, self.desk, self.listener)
        with self.door.inside(connection):
            self.watch.add(connection)
            try:
                await connection.serve()
            finally:
                self.watch.remove(connection)

    def _admit(self, socket: WebSocket) -> None:
        """Refuse before the upgrade whoever could not be served after it.

        Raises:
            Invalid: another subprotocol, or something in the query, where a token would be logged.
            Forbidden: the page that opens this socket is not one of ours, or says not whose it is.
        """
        if SUBPROTOCOL not in socket.scope["subprotocols"]:
            raise Invalid(f"Speak the subprotocol {SUBPROTOCOL}.")
        if socket.scope["query_string"]:
            raise Invalid("Send the ticket in the first frame, not in the address.")
        if not origin_allowed(socket, self.rooms.settings.allowed_origins):
            raise Forbidden("This page may not open sockets here.")


def origin_allowed(connection: HTTPConnection, allowed: str) -> bool:
    """Whether it says that it is a page of ours, or one of those allowed. Browsers always do."""
    origin = connection.headers.get("origin", "")
    if origin and origin in {one.strip() for one in allowed.split(",")}:
        return True
    try:
        return urlsplit(origin).netloc == connection.headers.get("host")
    except ValueError:
        return False
