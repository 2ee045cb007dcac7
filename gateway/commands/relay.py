"""``holdfast relay``: delivers confirmed orders."""

import argparse
import asyncio
import os
import sys

from gateway import logs, process
from gateway.clock import SystemClock
from gateway.durability import Durability
from gateway.environment import read
from gateway.lane import Lane
from gateway.metrics.relay import registry_of_relay
from gateway.metrics.serving import Health, answering, listen
from gateway.pos import relay as pos_relay
from gateway.pos.tally import Tally
from gateway.pulse import Pulse
from gateway.readiness import Readiness
from gateway.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``relay``."""
    parser.add_argument(
        "--retry-parked",
        action="store_true",
        help="deliver what was given up once more, instead of running the relay",
    )


def run(options: argparse.Namespace) -> int:
    """Run the relay, or have it deliver again what it gave up; 1 when a shop does not answer."""
    settings = read(os.environ, needs=())
    logs.start(settings)
    if options.retry_parked:
        return _retry_parked(settings)
    process.run(_relay(settings))
    return 0


def _retry_parked(settings: Settings) -> int:
    retried = asyncio.run(pos_relay.retry_parked(settings))
    sys.stdout.write(f"{retried.orders} orders will be delivered once more\n")
    for shop in retried.silent:
        sys.stderr.write(f"holdfast: {shop} does not answer, and is left out; ask again\n")
    return 1 if retried.silent else 0


async def _relay(settings: Settings) -> None:
    lane, clock, turn = Lane(settings), SystemClock(), Pulse()
    numbers = registry_of_relay(lane, turn)
    readiness = Readiness(lane, Durability(lane, settings, clock), clock)
    async with answering(listen(settings), Health(numbers, turn, readiness)):
        await pos_relay.run(lane, settings, Tally(numbers), turn)
