"""Reservations straight from a Valkey, with almost no Python.

``blast`` drives the server to its limit with one hot sku; ``drip`` is a steady sale of many, each
reservation a call of its own, while something else is measured.

A gateway costs about as much CPU as the script it calls, so that on two cores it would be measured
instead of the server. Here each batch is one prepared block of bytes in which a number is replaced,
and of the answers only the word ``HOLD`` is counted.
"""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from gateway.keys import ShopKeys
from gateway.model import MAX_PAYMENT
from gateway.scripts import load
from loadtest.crowd import WARM_UP_S, Notice, Tally, arrivals, names
from loadtest.ways import Wish
from loadtest.ways.gateway import SHIP_JSON, SHOP, SHOW

CONNECTIONS = 8
ANSWER_TIMEOUT_S = 10.0
READ_BYTES = 262_144
HELD, SOLD_OUT = b"HOLD", b"SOLD_OUT"
BLANK = "########"
"""Replaced by the number of the batch; as long as that number."""


def template(batch: int) -> bytes:
    """One call that decides so many reservations, as bytes for the socket."""
    wishes = [
        Wish(f"s_{BLANK}{place:03d}", f"{BLANK}{place:03d}", ("sku0000",)) for place in range(batch)
    ]
    return command(*call(wishes))


def call(wishes: Sequence[Wish]) -> list[str]:
    """The words of one call of the script that decides these wishes together."""
    keys = ShopKeys(SHOP)
    named = [keys.meta, keys.stock, keys.catalog, keys.shows, keys.deadlines, keys.ledger]
    named.append(keys.news)
    requests = []
    for wish in wishes:
        hold = f"h_{wish.key}"
        named += [keys.hold(hold), keys.shopper(wish.shopper)]
        requests.append(
            {
                "hold": hold,
                "shopper": wish.shopper,
                "show": SHOW,
                "fingerprint": "0123456789abcdef",
                "ttl_ms": 120_000,
                "fulfillment": SHIP_JSON,
                "lines": [{"sku": sku, "quantity": 1} for sku in wish.skus],
            }
        )
    words = ["EVALSHA", load("hold_reserve").sha, str(len(named)), *named]
    return [
        *words,
        msgspec.json.encode(requests).decode(),
        "10",
        "2592000000",
        str(MAX_PAYMENT),
        "0",
    ]


def command(*words: str) -> bytes:
    """A command in RESP."""
    packed = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{packed}".encode()


async def blast(url: str, batch: int, crowd: int, seconds: float, notice: Notice) -> Tally:
    """Reserve for so many seconds; the shelf is full and the server knows the script.

    Raises:
        RuntimeError: the server answered something else.
    """
    tally, numbers = Tally(), itertools.count(crowd * 10_000_000)
    prepared = template(batch)
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(_repeat(url, prepared, batch, numbers, tally, stopped))
        await asyncio.sleep(WARM_UP_S)
        notice("measuring")
        before, cpu, wall = tally.held, time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        tally.decided = tally.held - before
        tally.cpu_s = time.process_time() - cpu
        tally.wall_s = time.perf_counter() - wall
        notice("measured")
        stopped.set()
    return tally


async def drip(
    url: str, skus: int, rate: float, seconds: float, crowd: int, notice: Notice
) -> Tally:
    """Sell at a rate, for so many seconds; who finds a sku sold out takes another.

    It sleeps from one arrival to the next: each is up to a timer's millisecond late.
    """
    tally, rng = Tally(), random.Random(crowd)  # noqa: S311 (nothing secret)
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(command("SCRIPT", "LOAD", load("hold_reserve").text))
    await reader.readline()
    await reader.readline()
    numbers, asked, on_sale = itertools.count(crowd * 10_000_000), deque[str](), names(skus)
    prepared = {sku: command(*call([Wish(f"s_{BLANK}", f"{BLANK}", (sku,))])) for sku in on_sale}

    def ask() -> None:
        sku = rng.choice(on_sale)
        asked.append(sku)
        writer.write(prepared[sku].replace(BLANK.encode(), b"%08d" % next(numbers)))

    async def hear() -> None:
        while True:
            answer = await reader.readexactly(int((await reader.readline())[1:]) + 2)
            sku = asked.popleft()
            tally.decided += 1
            if HELD in answer:
                tally.held += 1
            elif SOLD_OUT in answer:
                if sku in on_sale:
                    on_sale.remove(sku)
                ask()
            else:
                raise RuntimeError(f"the server said {answer[:100]!r}")

    notice("measuring")
    cpu, start = time.process_time(), time.perf_counter()
    hearing = asyncio.create_task(hear())
    for meant in arrivals(start, rate, rng):
        if meant >= start + seconds or hearing.done():
            break
        if (early := meant - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        ask()
    tally.cpu_s, tally.wall_s = time.process_time() - cpu, time.perf_counter() - start
    notice("measured")
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while asked and not hearing.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    if hearing.done():
        hearing.result()
    hearing.cancel()
    writer.close()
    return tally


async def _repeat(
    url: str,
    prepared: bytes,
    batch: int,
    numbers: Iterator[int],
    tally: Tally,
    stopped: asyncio.Event,
) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        while not stopped.is_set():
            writer.write(prepared.replace(BLANK.encode(), b"%08d" % next(numbers)))
            await _count(reader, batch)
            tally.held += batch
    finally:
        writer.close()


async def _count(reader: asyncio.StreamReader, batch: int) -> None:
    """Read until so many have their hold, and the answer of the last is complete."""
    seen, tail = 0, b""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while seen < batch or not tail.endswith(b"\r\n"):
            data = await reader.read(READ_BYTES)
            if not data or data.startswith(b"-"):
                raise RuntimeError(f"the server said {data[:100]!r}")
            joined = tail + data
            seen += joined.count(HELD) - tail.count(HELD)
            tail = joined[-len(HELD) + 1 :]
