"""A socket for a part of the sandbox, in this process or in one of its own.

A part run as a program prints ``{"url": …}`` on one line once it listens, and ends within two
seconds of SIGTERM or SIGINT.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import uvicorn
import uvloop
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HOST = "127.0.0.1"
CUT = "holdfast.sandbox.cut"
"""ASGI extension: ``scope["extensions"][CUT]["cut"]()`` cuts the connection, as a fault does."""

_GRACE_S = 1
"""How long requests under way may still take once the process is told to end."""


class _CuttableProtocol(HttpToolsProtocol):
    """Lets the application cut the connection, which ASGI itself has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: {"cut": self.transport.abort}}


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: Starlette, *, host: str = HOST, port: int = 0) -> AsyncIterator[str]:
    """Serve an application; its URL. ``port`` 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    with socket.create_server((host, port)) as listener:
        # asyncio sets this only on sockets it opened; without it a reply may wait 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app,
            http=_CuttableProtocol,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve([listener]))
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if running.done():
                raise RuntimeError("it ended before it listened") from running.exception()
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            listening.cancel()
            server.should_exit = True
            await running


def run(app: Starlette, host: str, port: int) -> int:
    """Serve an application as a program, until it is told to end; the exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_told(app, host, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        sys.stderr.write(f"cannot listen on {host}:{port}: {reason}\n")
        return 1
    return 0


async def _until_told(app: Starlette, host: str, port: int) -> None:
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_end.set)
    async with serving(app, host=host, port=port) as url:
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        await told_to_end.wait()
