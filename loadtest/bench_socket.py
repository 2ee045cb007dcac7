"""What one ``reserve`` costs a gateway process, from the frame on the socket to the reply on it.

    python -m loadtest.bench_socket [--rounds 5] [--seconds 4] [--sockets 100]

Three servers of one process each, on loopback, sell one hot sku of a shop each from one real
Valkey; a closed loop of shoppers reserves under fresh keys. Measured is the CPU time of the server
process, user and system, for each reply, in turns of a few seconds, so that whatever else the
machine does meets all of them:

* ``plain``: a Starlette handler on uvicorn's own socket class that decodes and encodes with msgspec
  and awaits one EVALSHA of the same script for each message, through redis-py's pool. It limits no
  rate and refuses no card number.
* ``gateway``: ours, as it serves, but that it hears no news, since ``plain`` hears none either.
* ``with news``: ours with everything: it hears of each hold, and tells the shopper's devices.

Told are the reservations that one call of the script decided together, too, and how many times the
CPU of ``plain`` pays for ours, round by round. Afterwards the units held in Redis must be the
replies given, or it fails.
"""

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway import app
from gateway.checkout.payment import Payments
from gateway.clock import SystemClock
from gateway.keys import ShopKeys
from gateway.lane import Lane, served
from gateway.messages import SUBPROTOCOL, AnyCommand, Connect, HoldFrame, Ok, Reserve, encode
from gateway.model import MAX_PAYMENT, CatalogEntry, Money, Movement, Show
from gateway.news import News, hold_from_words
from gateway.rooms import join
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.scripts import load
from gateway.settings import Settings
from gateway.sockets.feed import Feed
from gateway.stock import rows
from gateway.stock.holds import hold_id
from gateway.stock.reservations import Request
from gateway.tickets import Tokens
from loadtest.fast_shopper import Score, Shopper

SHOW, SKU, STOCK = "tonight", "tee", 1_000_000
SHOPS = {"plain": "plain", "gateway": "ours", "with news": "told"}
_PATIENCE_S = 20
_TICKS = os.sysconf("SC_CLK_TCK")


def settings_of(redis_url: str, kind: str) -> Settings:
    """No limit is met: what is measured is the path."""
    return Settings(
        redis_url=redis_url,
        shop=SHOPS[kind],
        secret="a-secret-of-the-benchmark-0123456789",  # noqa: S106
        stripe_api_key="sk_test_0123456789abcdef",
        stripe_webhook_secret="whsec_0123456789abcdef",  # noqa: S106
        hold_ttl_s=3_600,
        hold_max_s=3_600,
        payment_budget_s=3_600,
        holds_per_shopper=10_000_000,
        commands_per_s=1_000_000,
        commands_per_shopper_per_s=1_000_000,
        ping_s=3_600,
        ticket_ttl_s=86_400,
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# The servers


def plain(settings: Settings) -> Starlette:
    """One awaited EVALSHA for each message, as one would first write it."""
    redis = Redis.from_url(settings.redis_url, max_connections=1_000)
    tokens, keys = Tokens(settings, SystemClock()), ShopKeys(settings.shop)
    decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)
    sha = load("hold_reserve").sha

    async def reserve(shopper: str, command: Reserve) -> HoldFrame:
        request = Request(
            hold=hold_id(settings.shop, shopper, command.key),
            shopper=shopper,
            show=SHOW,
            fingerprint="f",
            ttl_ms=settings.hold_ttl_s * 1000,
            fulfillment=msgspec.json.encode(command.fulfillment).decode(),
            lines=command.lines,
        )
        names = [keys.meta, keys.stock, keys.catalog, keys.shows, keys.deadlines, keys.ledger]
        names += [keys.news, keys.hold(request.hold), keys.shopper(shopper)]
        limits = (settings.holds_per_shopper, 30 * 86_400_000, MAX_PAYMENT, 0)
        replies: Any = await redis.evalsha(
            sha, len(names), *names, msgspec.json.encode([request]), *limits
        )
        _, *hold, version = msgspec.json.decode(replies)[0]
        return HoldFrame(id=command.id, hold=hold_from_words(hold), version=int(version))

    async def live(browser: WebSocket) -> None:
        await browser.accept(subprotocol=SUBPROTOCOL)
        shopper = ""
        with suppress(WebSocketDisconnect):
            while True:
                match decoder.decode(await browser.receive_text()):
                    case Connect() as command:
                        shopper = tokens.read_ticket(command.token).sub
                        await browser.send_text(encode(Ok(id=command.id)).decode())
                    case Reserve() as command:
                        frame = await reserve(shopper, command)
                        await browser.send_text(encode(frame).decode())

    return Starlette(routes=[WebSocketRoute("/v1/live", live)])


def ours(settings: Settings) -> uvicorn.Server:
    """The gateway."""
    lane = Lane(settings)
    payments = Payments(settings, lane, SystemClock())
    gateway = app.assemble(
        settings, clock=SystemClock(), rng=random.SystemRandom(), lane=lane, payments=payments
    )
    return app.server(gateway)


async def _hear_nothing(_: Feed, __: News) -> None:
    """In place of ``Feed.hear``."""


async def _is_deaf(_: Feed) -> bool:
    """In place of ``Feed.is_deaf``, which would notice."""
    return False


def serve(kind: str, redis_url: str, listener: int) -> None:
    """Be one of the servers, on a socket that listens already."""
    settings = settings_of(redis_url, kind)
    if kind == "plain":
        config = app.configuration(settings, plain(settings), WebSocketsSansIOProtocol)
        server = uvicorn.Server(config)
    else:
        server = ours(settings)
    if kind == "gateway":
        Feed.hear = _hear_nothing  # type: ignore[method-assign, assignment]
        Feed.is_deaf = _is_deaf  # type: ignore[method-assign, assignment]
    server.run(sockets=[socket.socket(fileno=listener)])


@dataclass(slots=True)
class Contestant:
    """One server, and its shoppers."""

    kind: str
    pid: int
    score: Score = field(default_factory=Score)
    shoppers: list[Shopper] = field(default_factory=list)
    us: list[float] = field(default_factory=list)
    """CPU per reply, a figure for each round."""
    replies_per_s: list[float] = field(default_factory=list)
    together: float = 0.0
    """Reservations decided by one call, on average."""

    async def take_turn(self, seconds: float, *, counts: bool) -> None:
        """Let the shoppers reserve for so long."""
        self.score.going = True
        holds, busy_s, at = self.score.holds, _cpu_s(self.pid), time.monotonic()
        for shopper in self.shoppers:
            shopper.reserve()
        await asyncio.sleep(seconds)
        self.score.going = False
        asked = sum(shopper.asked for shopper in self.shoppers)
        async with asyncio.timeout(_PATIENCE_S):
            while self.score.holds + self.score.errors < asked:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        holds = self.score.holds - holds
        if counts:
            self.us.append((_cpu_s(self.pid) - busy_s) / holds * 1e6)
            self.replies_per_s.append(holds / (time.monotonic() - at))


def _same(shopper: Shopper) -> Shopper:
    return shopper


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def contestant(
    kind: str, settings: Settings, warden: Warden, sockets: int
) -> AsyncIterator[Contestant]:
    """Start a server, and let its shoppers in."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    process = subprocess.Popen(  # noqa: ASYNC220, S603
        [
            *(sys.executable, "-m", "loadtest.bench_socket", f"--serve={kind}"),
            *(f"--redis={settings.redis_url}", f"--listener={listener.fileno()}"),
        ],
        pass_fds=[listener.fileno()],
        process_group=warden.group,
        stdin=subprocess.DEVNULL,
    )
    one, loop = Contestant(kind, process.pid), asyncio.get_running_loop()
    tokens = Tokens(settings, SystemClock())
    try:
        for number in range(sockets):
            name = f"s{number}"
            ticket = tokens.sign_ticket(settings.shop, SHOW, name)[0].encode()
            shopper = Shopper(name, one.score, loop.create_future(), ticket)
            await loop.create_connection(partial(_same, shopper), *listener.getsockname())
            await asyncio.wait_for(shopper.connected, 20)
            one.shoppers.append(shopper)
        yield one
    finally:
        process.kill()
        process.wait()
        listener.close()


async def open_shop(lane: Lane, settings: Settings) -> None:
    """Put more on sale than can be asked for."""
    rooms = join(
        settings,
        SystemClock(),
        random.SystemRandom(),
        lane,
        Payments(settings, lane, SystemClock()),
    )
    await rooms.catalog.put(settings.shop, (CatalogEntry(SKU, "Tee", Money(1_500, "EUR")),))
    now = "2026-11-21T20:00:00.000Z"
    await rooms.movements.apply(
        settings.shop, (Movement("in", "received", SKU, "main", STOCK, now, "benchmark"),)
    )
    await rooms.shows.put(settings.shop, Show(SHOW, "Tonight"))
    await rooms.shows.move(settings.shop, SHOW, "live")
    await lane.command("SCRIPT", "LOAD", load("hold_reserve").text)


async def check_books(lane: Lane, one: Contestant) -> None:
    """Every unit held was promised, and none twice."""
    packed = await lane.command("HGET", ShopKeys(SHOPS[one.kind]).stock, SKU)
    (row,) = rows.decode(packed)
    if row.on_hand != STOCK or row.held != one.score.holds or one.score.errors:
        raise SystemExit(f"{one.kind}: {row} after {one.score}")
    decisions = await lane.command("HGET", ShopKeys(SHOPS[one.kind]).meta, "version")
    one.together = one.score.holds / int(decisions)


async def measure(contestants: Sequence[Contestant], rounds: int, seconds: float) -> None:
    """Let them take turns."""
    for one in contestants:
        await one.take_turn(min(1.0, seconds), counts=False)
    for number in range(rounds):
        for one in contestants:
            await one.take_turn(seconds, counts=True)
        _say(
            f"round {number + 1}: " + ", ".join(f"{it.kind} {it.us[-1]:.1f}" for it in contestants)
        )


def report(contestants: Sequence[Contestant]) -> None:
    """Print medians and spread."""
    first = contestants[0]
    _say(
        f"\n{'':12}{'µs CPU a reply':>18}{'least-most':>18}{'replies/s':>12}"
        f"{'a call':>8}{'times plain':>26}"
    )
    for one in contestants:
        ratios = [theirs / mine for theirs, mine in zip(first.us, one.us, strict=True)]
        _say(
            f"{one.kind:12}{statistics.median(one.us):18.1f}"
            f"{f'{min(one.us):.1f}-{max(one.us):.1f}':>18}"
            f"{statistics.median(one.replies_per_s):12.0f}{one.together:8.1f}"
            f"{f'{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})':>26}"
        )


async def compare(kinds: Sequence[str], rounds: int, seconds: float, sockets: int) -> None:
    """Run all of it."""
    with Warden() as warden, EmbeddedValkey(warden.group, port=0) as valkey:
        async with served(settings_of(valkey.url, kinds[0])) as lane:
            contestants = []
            async with AsyncExitStack() as stack:
                for kind in kinds:
                    settings = settings_of(valkey.url, kind)
                    await open_shop(lane, settings)
                    contestants.append(
                        await stack.enter_async_context(contestant(kind, settings, warden, sockets))
                    )
                await measure(contestants, rounds, seconds)
                for one in contestants:
                    await check_books(lane, one)
            report(contestants)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--only", choices=SHOPS, action="append")
    parser.add_argument("--serve", choices=SHOPS, help=argparse.SUPPRESS)
    parser.add_argument("--redis", help=argparse.SUPPRESS)
    parser.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.redis, given.listener)
    else:
        run = compare(given.only or list(SHOPS), given.rounds, given.seconds, given.sockets)
        uvloop.run(run)


if __name__ == "__main__":
    main()
