"""The gateway itself, with nothing but a timer added that notes how long its loop is held.

    python -m loadtest.fanout.timed [--unsliced]

It is set up by its environment, as ``holdfast serve`` is. A line ``held`` on standard input has it
answer. ``--unsliced`` has it tell all viewers in one go, as it would without slices.
"""

import argparse
import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from gateway import app
from gateway.app import Gateway
from gateway.environment import read
from gateway.sockets import fanout
from loadtest.fanout.ticker import Ticker, control

EVERYBODY = 1_000_000


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unsliced", action="store_true")
    if parser.parse_args().unsliced:
        fanout.SLICE = EVERYBODY
    running = Gateway.running

    @contextlib.asynccontextmanager
    async def timed(self: Gateway) -> AsyncIterator[None]:
        async with running(self):
            timing = asyncio.create_task(control(None, Ticker()))
            yield
            timing.cancel()

    Gateway.running = timed  # type: ignore[method-assign]
    app.serve(read(os.environ))


if __name__ == "__main__":
    main()
