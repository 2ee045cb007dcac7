"""The crowd: shoppers through the real socket, in a process of their own.

Writes what they did as JSON lines (``Counts``) to standard output. Ends when all of them have gone,
because everything is sold out, or soon after SIGTERM: whoever is paying finishes first.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import uvloop

from gateway.demo.counts import Counts
from gateway.demo.entrance import Entrance
from gateway.demo.shopper import Shopper
from gateway.demo.temper import Temper

log = logging.getLogger(__name__)

REPORT_EVERY_S = 0.25
GRACE_S = 20.0
"""How long payments may take once the crowd was told to go; the supervisor may wait less."""
_HTTP_TIMEOUT_S = 10.0
_HTTP_CONNECTIONS = 20


async def run(arguments: argparse.Namespace) -> None:
    """Play the crowd until it has gone."""
    stopping, counts = asyncio.Event(), Counts(shoppers=arguments.shoppers)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    limits = httpx.Limits(max_connections=_HTTP_CONNECTIONS)
    async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, limits=limits, trust_env=False) as client:
        entrance = Entrance(client, arguments.url, arguments.show, arguments.sandbox_url)
        rng = random.Random(arguments.seed)  # noqa: S311 (a repeatable play, not a secret)
        shoppers = [
            asyncio.create_task(_play(number, rng.getrandbits(64), entrance, counts, stopping))
            for number in range(1, arguments.shoppers + 1)
        ]
        reporting = asyncio.create_task(_report(counts))
        await _gone(shoppers, stopping)
        reporting.cancel()
        _write(counts)


async def _play(
    number: int, seed: int, entrance: Entrance, counts: Counts, stopping: asyncio.Event
) -> None:
    temper = Temper(random.Random(seed))  # noqa: S311 (a repeatable play, not a secret)
    try:
        await Shopper(f"shopper-{number}", temper, entrance, counts, stopping).run()
    except Exception as error:
        log.exception("crowd: shopper %d tripped", number)
        counts.blame(f"a shopper tripped: {type(error).__name__}")


async def _gone(shoppers: Sequence[asyncio.Task[None]], stopping: asyncio.Event) -> None:
    """Wait until all have gone; see off those who stay on after the grace."""
    told = asyncio.create_task(stopping.wait())
    everybody = asyncio.gather(*shoppers)
    ends: set[asyncio.Future[Any]] = {told, everybody}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    try:
        async with asyncio.timeout(GRACE_S if not everybody.done() else None):
            await everybody
    except TimeoutError:
        sys.stderr.write("crowd: some payments had no outcome yet\n")


async def _report(counts: Counts) -> None:
    while True:
        _write(counts)
        await asyncio.sleep(REPORT_EVERY_S)


def _write(counts: Counts) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(msgspec.json.encode(counts) + b"\n")
        sys.stdout.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.demo.crowd",
        description="Shoppers of a demo show; what they did comes as JSON lines.",
    )
    add = parser.add_argument
    add("--url", required=True, help="the gateway")
    add("--show", required=True, help="the show they watch")
    add("--sandbox-url", required=True, help="the Stripe sandbox, for the bank's second step")
    add("--shoppers", type=int, required=True, help="how many come")
    add("--seed", type=int, default=1, help="the same seed, the same whims")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the crowd; return the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(_parser().parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
