"""The other ways to tell N sockets the same, each a server process as its friends would write it.

    python -m loadtest.fanout.towers WAY LISTENER [--ticks]

It serves the socket it inherits. A line ``tell`` on standard input has it send its message, as long
as ours, to every socket; ``held`` has it answer with the longest time its event loop was held since
it was last asked, if it was started with ``--ticks``.
"""

import argparse
import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.typing import Subprotocol

from gateway.messages import SUBPROTOCOL, StockFrame, encode
from gateway.sockets.direct import text_frame
from loadtest.fanout.ticker import Tell, Ticker, control

SKUS = 8
"""As many make a frame of about 185 bytes."""
UNITS = 100_000
MESSAGE = encode(
    StockFrame(epoch=1, version=10_000, items={f"sku{n:04d}": UNITS for n in range(SKUS)})
)

Server = contextlib.AbstractAsyncContextManager[Tell]


@contextlib.asynccontextmanager
async def broadcasting(listener: socket.socket) -> AsyncIterator[Tell]:
    """``broadcast()`` of websockets."""

    async def stay(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def tell() -> None:
        broadcast(server.connections, text)

    text = MESSAGE.decode()
    async with serve(
        stay,
        sock=listener,
        compression=None,
        ping_interval=None,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
    ) as server:
        yield tell


@contextlib.asynccontextmanager
async def starlette(
    listener: socket.socket, tell: Callable[[list["Viewer"]], Awaitable[None]], *, deflate: bool
) -> AsyncIterator[Tell]:
    """A handler under uvicorn that keeps a list of its sockets."""
    viewers: list[Viewer] = []

    async def live(browser: WebSocket) -> None:
        await browser.accept(subprotocol=SUBPROTOCOL)
        viewer = Viewer(browser, asyncio.Queue())
        viewers.append(viewer)
        if tell is queues:
            viewer.writer = asyncio.create_task(viewer.write())
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await browser.receive_text()
        viewers.remove(viewer)
        if viewer.writer:
            viewer.writer.cancel()

    config = uvicorn.Config(
        Starlette(routes=[WebSocketRoute("/v1/live", live)]),
        ws="websockets-sansio",
        ws_per_message_deflate=deflate,
        ws_ping_interval=None,
        log_level="warning",
    )
    running = asyncio.create_task(uvicorn.Server(config).serve([listener]))
    yield lambda: tell(viewers)
    running.cancel()


@dataclass(slots=True, eq=False)
class Viewer:
    """One socket of a Starlette handler."""

    browser: WebSocket
    queue: asyncio.Queue[str]
    writer: asyncio.Task[None] | None = None

    async def write(self) -> None:
        """Write what is queued."""
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await self.browser.send_text(await self.queue.get())


async def one_by_one(viewers: list[Viewer]) -> None:
    """``await send_text()``, socket after socket."""
    text = MESSAGE.decode()
    for viewer in viewers:
        await viewer.browser.send_text(text)


async def gather(viewers: list[Viewer]) -> None:
    """``asyncio.gather`` of all sends."""
    text = MESSAGE.decode()
    await asyncio.gather(*(viewer.browser.send_text(text) for viewer in viewers))


async def queues(viewers: list[Viewer]) -> None:
    """A queue for each socket, and a task that writes what is in it."""
    text = MESSAGE.decode()
    for viewer in viewers:
        viewer.queue.put_nowait(text)


class Bare(asyncio.Protocol):
    """A socket that is upgraded by hand, and then only has its number."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The whole request, as these readers send it."""
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            self._numbers.append(self._transport.get_extra_info("socket").fileno())


@contextlib.asynccontextmanager
async def bare(listener: socket.socket) -> AsyncIterator[Tell]:
    """The floor: nothing but the system call."""
    numbers: list[int] = []
    frame = text_frame(MESSAGE)

    async def tell() -> None:
        for number in numbers:
            os.write(number, frame)

    server = await asyncio.get_running_loop().create_server(lambda: Bare(numbers), sock=listener)
    async with server:
        yield tell


WAYS: dict[str, Callable[[socket.socket], Server]] = {
    "broadcast": broadcasting,
    "one_by_one": lambda listener: starlette(listener, one_by_one, deflate=False),
    "deflate": lambda listener: starlette(listener, one_by_one, deflate=True),
    "gather": lambda listener: starlette(listener, gather, deflate=False),
    "queues": lambda listener: starlette(listener, queues, deflate=False),
    "floor": bare,
}


async def rival(way: str, listener: socket.socket, ticker: Ticker | None) -> None:
    """Be one of the others."""
    async with WAYS[way](listener) as tell:
        await control(tell, ticker)


def main() -> None:
    """Be the way that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("listener", type=int, help="number of an inherited socket")
    parser.add_argument("--ticks", action="store_true")
    given = parser.parse_args()
    ticker = Ticker() if given.ticks else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rival(given.way, socket.socket(fileno=given.listener), ticker))


if __name__ == "__main__":
    main()
