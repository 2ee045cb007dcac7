"""Faults planted on purpose, to see that the verdict of a load test finds each and says which.

    python -m loadtest.planted oversell      a gateway that holds more units than there are
    python -m loadtest.planted staleness     a gateway whose stock pushes are held back for seconds
    python -m loadtest.planted slow_redis --to PORT --port PORT
                                             a proxy that keeps every byte for a tenth of a second

The first two are `holdfast serve` with one thing changed in its own memory; no file of the gateway
is touched. The third stands in front of any Redis on this machine.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gateway import __main__ as holdfast
from gateway import scripts
from gateway.sockets.fanout import Fanout

FAULTS = ("oversell", "staleness", "slow_redis")
TOO_MANY = 25
"""Units of each sku at each location that the oversold shop holds beyond what it has."""
HELD_BACK_S = 3.0
"""How long stock pushes are held back."""
DELAY_S = 0.1
"""How long the proxy keeps what comes, each way: below the gateway's own timeout."""

QUICK_S = 1.0
"""How long a new connection is passed on at once: its greeting has several round trips, which have
to end within one timeout."""

_HOST = "127.0.0.1"
_CHUNK = 65_536
_FREE = "math.max(0, row[2] - row[3] - row[4] - row[5])"


def oversell(folder: Path) -> None:
    """From now on reservations are decided by a script, put into this folder, that has a bug."""
    shutil.copytree(scripts.folder(), folder, dirs_exist_ok=True)
    script = folder / "hold_reserve.lua"
    text = script.read_text()
    assert text.count(_FREE) == 1, "the script has changed; so must the bug"
    script.write_text(text.replace(_FREE, _FREE.replace("row[2]", f"row[2] + {TOO_MANY}")))
    scripts.load.cache_clear()
    scripts.folder = lambda: folder


def staleness() -> None:
    """From now on every change of the stock is told late."""
    changed: Callable[..., None] = Fanout.changed

    def late(self: Fanout, skus: Iterable[str], at_ms: int, *, urgent: bool) -> None:
        asyncio.get_running_loop().call_later(
            HELD_BACK_S, lambda: changed(self, tuple(skus), at_ms, urgent=urgent)
        )

    Fanout.changed = late  # type: ignore[method-assign]


async def delay(to: int, port: int) -> None:
    """Pass bytes between a port and the server at another, each a little later, for ever."""
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(to, reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, _HOST, port)
    try:
        await server.serve_forever()
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _serve(to: int, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    try:
        server_reader, server = await asyncio.open_connection(_HOST, to)
    except OSError:
        client.transport.abort()
        return
    slow_from_s = asyncio.get_running_loop().time() + QUICK_S
    ways = ((reader, server), (server_reader, client))
    passing = (_pass_on(*way, slow_from_s) for way in ways)
    try:
        await asyncio.gather(*passing, return_exceptions=True)
        await asyncio.sleep(DELAY_S)  # What was kept last is on its way.
    finally:
        client.transport.abort()
        server.transport.abort()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slow_from_s: float
) -> None:
    """Pass on in order: what came in one moment leaves in one, later."""
    loop = asyncio.get_running_loop()
    try:
        while data := await reader.read(_CHUNK):
            wait_s = DELAY_S if loop.time() > slow_from_s else 0
            loop.call_later(wait_s, _write, writer, data)
    finally:
        loop.call_later(DELAY_S, writer.close)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)


def main(argv: Sequence[str]) -> int:
    """Plant a fault and run until told to end; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.planted", description=_first_line())
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--to", type=int, default=6379, help="slow_redis: where Redis is")
    parser.add_argument("--port", type=int, default=6380, help="slow_redis: where to listen")
    options: Any = parser.parse_args(argv)
    if options.fault == "slow_redis":
        asyncio.run(delay(options.to, options.port))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if options.fault == "oversell":
            oversell(Path(folder))
        else:
            staleness()
        sys.stderr.write(f"planted: {options.fault}\n")
        return holdfast.main(["serve"])


def _first_line() -> str:
    return (__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
