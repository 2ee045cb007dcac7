"""How old the stock is that viewers see while a sale goes on.

Two gateways have half of the viewers each; a process that stands for the shoppers
reserves at a steady rate, whatever becomes of it, from one Valkey. Some skus run out on the way.

Frames carry no time. So the news is heard a second time, on a subscription of our own: it says when
each version was decided, by Redis' clock, which is this machine's. A sample of the viewers notes
when each frame came. A change is as old as the time from its decision to the first frame with its
sku that is at least as new. Changes that a viewer never saw are an error: the last state of all
must be the truth.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gateway import news
from gateway.keys import ShopKeys
from gateway.messages import StockFrame
from loadtest.blast import command
from loadtest.child import Child, cpu_s
from loadtest.crowd import Tally, names
from loadtest.fanout import stage
from loadtest.fanout.readers import Order, Sighting
from loadtest.fanout.sections import MOST_LONG_ROUNDS, Bench, Row, Section
from loadtest.fanout.stage import Readers, Server
from loadtest.ways import Places
from loadtest.ways.gateway import SHOP
from loadtest.worker import Task

SKUS = 50
SCARCE = 10
"""Skus that run out in a round, one after the other."""
PLENTY = 1_000_000
GATEWAYS = 2
SAMPLE = 100
"""Viewers of each gateway whose frames are kept."""
_STOCK = msgspec.json.Decoder(StockFrame)
_SIGHTINGS = msgspec.msgpack.Decoder(list[Sighting])


@dataclass(slots=True)
class Ages:
    """How many changes were how old when they were seen, in whole ms."""

    stock: Counter[int] = field(default_factory=Counter)
    sold_out: Counter[int] = field(default_factory=Counter)
    unseen: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One sku, as one decision left it."""

    version: int
    at_ms: int
    units: int


@dataclass(frozen=True, slots=True)
class Sale:
    """What one round said."""

    ages: Ages
    rate: float
    """Reservations a second."""
    cores: dict[str, float]
    """How many each process kept busy."""


class Ear:
    """A second subscription to the news: bytes are kept, and read when the sale is over."""

    def __init__(self, redis_url: str) -> None:
        address = urlsplit(redis_url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.sendall(command("SSUBSCRIBE", ShopKeys(SHOP).news))
        self._heard: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(262_144):
            self._heard.append(data)

    def close(self) -> None:
        """Hear no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def changes(self) -> dict[str, list[Change]]:
        """What was decided of each sku, in order."""
        found = defaultdict(list)
        for message in messages(b"".join(self._heard)):
            told = news.decode(message)
            for sku, units in told.stock.items():
                found[sku].append(Change(told.version, told.at, units))
        return found


def messages(heard: bytes) -> Iterator[bytes]:
    """What a subscription was told, of all that came over its socket."""
    at = 0
    while (at := heard.find(b"smessage\r\n$", at)) >= 0:
        at += len(b"smessage\r\n$")
        for _ in range(2):  # The length and text of the channel's name, then of the message.
            end = heard.find(b"\r\n", at)
            size, start = int(heard[at:end]), end + 2
            at = start + size + len(b"\r\n$")
        payload = heard[start : start + size]
        if payload.startswith(b"{"):
            yield payload


def ages(changes: dict[str, list[Change]], seen: Iterable[Sighting], viewers: int) -> Ages:
    """How old each change was when each of so many viewers saw it."""
    found = Ages()
    frames: dict[bytes, StockFrame] = {}
    next_of: defaultdict[tuple[int, str], int] = defaultdict(int)
    for one in seen:
        frame = frames.get(one.text)
        if frame is None:
            frame = frames[one.text] = _STOCK.decode(one.text)
        for sku in frame.items:
            of_sku, at = changes.get(sku, []), next_of[one.viewer, sku]
            while at < len(of_sku) and of_sku[at].version <= frame.version:
                age = max(0, round(one.at_ms - of_sku[at].at_ms))
                found.stock[age] += 1
                if not of_sku[at].units:
                    found.sold_out[age] += 1
                at += 1
            next_of[one.viewer, sku] = at
    every = sum(len(of_sku) for of_sku in changes.values())
    found.unseen = viewers * every - found.stock.total()
    return found


def quantile(counts: Counter[int], share: float) -> float:
    """The age within which this share was seen; 0 when there was nothing."""
    wanted, so_far = share * counts.total(), 0
    for age in sorted(counts):
        so_far += counts[age]
        if so_far >= wanted:
            return age
    return 0


def fresh(bench: Bench) -> Section:
    """How old the stock is that viewers see, and how busy the machine is with it."""
    scarce = _scarce(bench)
    plenty = dict.fromkeys(names(SKUS), PLENTY)
    asyncio.run(stage.fill(bench.valkey.url, plenty | scarce))
    viewers, wrong = bench.crowd[-1], list[str]()
    row = Row("holdfast", "Holdfast", f"{viewers:,}")
    with contextlib.ExitStack() as stack:
        servers, crowds = _let_in(bench, stack, viewers // GATEWAYS)
        for number in range(min(bench.rounds, MOST_LONG_ROUNDS)):
            if number:
                asyncio.run(stage.receive(bench.valkey.url, scarce, f"again{number}"))
                time.sleep(bench.settle_s)
            sale = _sale(bench, number, servers, crowds)
            found = sale.ages
            row.add(rate=sale.rate)
            row.add(**{f"cores: {name}": cores for name, cores in sale.cores.items()})
            for name, counts in (("stock", found.stock), ("sold_out", found.sold_out)):
                row.add(**{f"{name}_p50": quantile(counts, 0.5)})
                row.add(**{f"{name}_p99": quantile(counts, 0.99)})
            if found.unseen:
                wrong.append(f"{found.unseen} changes were never seen")
            if not found.sold_out:
                wrong.append("nobody saw that anything was sold out")
            said = {name: round(values[-1], 2) for name, values in row.values.items()}
            bench.say(f"fresh       {number + 1}  {said}")
    return Section("fresh", [row], wrong)


def _scarce(bench: Bench) -> dict[str, int]:
    """Units of the skus that run out, evenly over the first nine tenths of a round."""
    per_s = bench.rate / SKUS
    step_s = bench.sale_s * 0.9 / SCARCE
    return {
        sku: max(1, round(per_s * step_s * number))
        for number, sku in enumerate(names(SKUS)[:SCARCE], 1)
    }


def _let_in(
    bench: Bench, stack: contextlib.ExitStack, each: int
) -> tuple[list[Server], list[Readers]]:
    """Start the gateways, and fill them."""
    servers, crowds = [], []
    for number in range(GATEWAYS):
        server = stack.enter_context(stage.gateway(bench.group, bench.valkey.url, sockets=each))
        servers.append(server)
        name = f"v{number}x"
        opened = stage.readers(bench.group, server.port, joins=True, name=name)
        crowds.append(stack.enter_context(opened))
    for crowd in crowds:
        crowd.begin(Order(do="connect", count=each))
    for crowd in crowds:
        if (count := crowd.end()).answers != {"101": each}:
            raise RuntimeError(f"not all viewers were let in: {count}")
    time.sleep(bench.settle_s)
    return servers, crowds


def _sale(bench: Bench, number: int, servers: list[Server], crowds: list[Readers]) -> Sale:
    """One round."""
    ear = Ear(bench.valkey.url)
    places = Places((bench.valkey.url,))
    task = Task(do="drip", places=places, skus=SKUS, rate=bench.rate, seconds=bench.sale_s)
    task = msgspec.structs.replace(task, crowd=number, seed=number)
    shoppers = Child.start(bench.group, ["-m", "loadtest.worker"])
    try:
        shoppers.tell(msgspec.json.encode(task).decode())
        shoppers.hear()
        files = [bench.folder / f"seen{at}" for at in range(len(crowds))]
        seconds = bench.sale_s + 2 * bench.settle_s  # By then every viewer must know all.
        for crowd, file in zip(crowds, files, strict=True):
            crowd.begin(Order(do="watch", seconds=seconds, sample=SAMPLE, file=str(file)))
        parts = {f"gateway {at + 1}": server.child.pid for at, server in enumerate(servers)}
        parts |= {f"readers {at + 1}": crowd.pid for at, crowd in enumerate(crowds)}
        parts |= {"Valkey": bench.valkey.pid, "shoppers": shoppers.pid}
        shoppers.tell("go")
        shoppers.hear()
        before, started = {name: cpu_s(pid) for name, pid in parts.items()}, time.monotonic()
        shoppers.hear()
        wall_s = time.monotonic() - started
        busy = {name: (cpu_s(pid) - before[name]) / wall_s for name, pid in parts.items()}
        tally = msgspec.json.decode(shoppers.hear(), type=Tally)
        for crowd in crowds:
            if (count := crowd.end()).closed:
                raise RuntimeError(f"viewers were sent away: {count}")
    finally:
        shoppers.end()
    ear.close()
    sampled = len(files) * min(SAMPLE, bench.crowd[-1] // GATEWAYS)
    return Sale(_ages(ear, files, sampled), tally.held / tally.wall_s, busy)


def _ages(ear: Ear, files: list[Path], viewers: int) -> Ages:
    seen = [
        Sighting(one.viewer * GATEWAYS + at, one.at_ms, one.text)
        for at, file in enumerate(files)
        for one in _SIGHTINGS.decode(file.read_bytes())
    ]
    return ages(ear.changes(), seen, viewers)
