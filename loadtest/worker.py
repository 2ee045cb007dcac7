"""One process under load: a gateway without its sockets, asked by shoppers in the same process.

Reads its ``Task`` as a line of JSON from standard input, says ``ready``, waits for another line,
says ``measuring`` and ``measured`` as it goes, and ends with its ``Tally`` as JSON.
"""

import asyncio
import sys
from typing import Literal

import msgspec
import uvloop
from msgspec import Struct

from loadtest.blast import blast, drip
from loadtest.crowd import Tally, flood, pace, race, wishes
from loadtest.ways import Options, Places
from loadtest.ways.menu import WAYS


class Task(Struct, kw_only=True):
    """What a worker is to do."""

    do: Literal["flood", "pace", "drip", "race", "blast"] = "flood"
    way: str = "ours"
    places: Places
    options: Options = {}
    skus: int = 1
    lines: int = 1
    shoppers: int = 256
    """In the loop at once."""
    seconds: float = 2
    rate: float = 0
    """Of an open loop, requests a second."""
    count: int = 0
    """Of a race."""
    batch: int = 1
    """Of a blast."""
    crowd: int = 0
    """Sets the shoppers of several workers apart."""
    seed: int = 0


async def perform(task: Task) -> Tally:
    """Do it, and tell standard output how far it is."""
    if task.do == "blast":
        await _go()
        return await blast(task.places.valkeys[0], task.batch, task.crowd, task.seconds, say)
    if task.do == "drip":
        await _go()
        return await drip(
            task.places.valkeys[0], task.skus, task.rate, task.seconds, task.crowd, say
        )
    asked = wishes(task.crowd, task.skus, task.lines)
    async with WAYS[task.way].open(task.places, task.options) as way:
        await _go()
        match task.do:
            case "flood":
                return await flood(way, asked, task.shoppers, task.seconds, say)
            case "pace":
                return await pace(way, asked, task.rate, task.seconds, task.seed, say)
            case "race":
                return await race(way, asked, task.count, task.shoppers)


def say(word: str) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def _go() -> None:
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    """Run one task."""
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(perform(task))
    say(msgspec.json.encode(tally).decode())


if __name__ == "__main__":
    main()
