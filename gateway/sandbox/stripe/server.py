"""A socket for the sandbox, in this process or in one of its own.

Prints `{"url": …}` on one line once it listens; SIGTERM and SIGINT end it within two seconds.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import msgspec
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.sandbox.stripe.app import Settings, build
from gateway.sandbox.stripe.desk import DROP
from gateway.sandbox.stripe.faults import FaultPlan
from gateway.sandbox.stripe.webhooks import Target

GRACE_S = 1
"""How long requests under way may still take once the process is told to end."""


class _CuttableProtocol(HttpToolsProtocol):
    """Lets the application cut the connection, which ASGI itself has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DROP: {"cut": self.transport.abort}}


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
async def serving(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> AsyncIterator[str]:
    """A running sandbox's URL; `port` 0 takes a free one. Raises OSError if the port is taken."""
    with socket.create_server((host, port)) as listener:
        # asyncio switches Nagle's algorithm off only on sockets it opened itself; with it on,
        # every reply waits 40 ms for an acknowledgement. Accepted sockets inherit the option.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            build(settings, clock, rng or random.SystemRandom()),
            http=_CuttableProtocol,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve([listener]))
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if running.done():
                raise RuntimeError("the sandbox ended before it listened") from running.exception()
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            listening.cancel()
            server.should_exit = True
            await running


async def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_end.set)
    async with serving(settings, host=host, port=port) as url:
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        await told_to_end.wait()


def main(argv: Sequence[str]) -> int:
    """The command line; answers the exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    if bool(given.webhook_url) != bool(given.webhook_secret):
        parser.error("--webhook-url and --webhook-secret belong together")
    try:
        plan = msgspec.json.decode(given.faults, type=FaultPlan)
    except msgspec.DecodeError as error:
        parser.error(f"--faults: {error}")
    webhook = None
    if given.webhook_url:
        kinds = tuple(given.webhook_events.split(","))
        webhook = Target(given.webhook_url, given.webhook_secret, kinds)
    settings = Settings(
        data=given.data,
        per_endpoint=given.rate_limit,
        per_account=given.rate_limit * 4 if given.account_limit is None else given.account_limit,
        webhook=webhook,
        faults=plan,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, given.host, given.port))
    except OSError as error:
        sys.stderr.write(
            f"cannot listen on {given.host}:{given.port}: {os.strerror(error.errno or 0)}\n"
        )
        return 1
    except sqlite3.Error as error:
        sys.stderr.write(f"cannot use {given.data}: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.sandbox.stripe",
        description="A Stripe for one machine. Point the SDK's base_addresses at the printed URL; "
        "any sk_test_ key will do. No money moves and nothing leaves this machine.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    add("--data", default=":memory:", metavar="FILE", help="SQLite file that keeps the money")
    add("--rate-limit", type=float, default=25, help="requests a second per endpoint; 0 lifts it")
    add(
        "--account-limit",
        type=float,
        help="requests a second in all; 0 lifts it; four times --rate-limit if not given",
    )
    add("--webhook-url", metavar="URL", help="where events are posted")
    add("--webhook-secret", metavar="SECRET", help="what they are signed with (whsec_…)")
    add(
        "--webhook-events",
        default="*",
        metavar="KINDS",
        help="e.g. payment_intent.*,charge.refunded",
    )
    add("--faults", default="{}", metavar="JSON", help='e.g. {"latency_ms": 200}; see faults.py')
    return parser
