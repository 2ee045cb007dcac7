"""``holdfast relay``: delivers confirmed orders."""

import argparse
import asyncio
import os
import sys

from gateway import logs, metrics, process
from gateway.environment import read
from gateway.pos import relay as pos_relay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``relay``."""
    parser.add_argument(
        "--retry-parked",
        action="store_true",
        help="deliver what was given up once more, instead of running the relay",
    )


def run(options: argparse.Namespace) -> int:
    """Run the relay, or have it deliver again what it gave up."""
    settings = read(os.environ, needs=())
    logs.start(settings)
    if options.retry_parked:
        count = asyncio.run(pos_relay.retry_parked(settings))
        sys.stdout.write(f"{count} orders will be delivered once more\n")
    else:
        numbers = metrics.registry_of_process()
        metrics.serve(settings, numbers)
        process.run(pos_relay.run(settings, numbers))
    return 0
