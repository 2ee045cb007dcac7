"""A server with its readers: started, measured and ended together."""

import contextlib
import os
import resource
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from redis import Redis

from gateway.model import Movement
from gateway.sandbox.ports import free_ports
from gateway.scripts import load
from gateway.stock.movements import MAX_BATCH, Movements
from loadtest.blast import call
from loadtest.child import Child, ChildFailed, cpu_s
from loadtest.crowd import names
from loadtest.fanout.readers import Count, Crowd, Order
from loadtest.fanout.towers import SKUS
from loadtest.ways import Places, Wish
from loadtest.ways.gateway import OPENED_AT, SHOP, SHOW, shelf

HOST = "127.0.0.1"
SECRET = "a-secret-of-the-benchmark-0123456789"  # noqa: S105
START_S = 20.0
PROBE_S = 0.02
SETTLE_S = 0.25
SETTLED = 0.002
"""Of its size: a process that grows by less between two looks has come to rest."""
MOST_LOOKS = 12
SPARE_FILES = 200
"""Descriptors a process needs besides its sockets."""


class TooFewFiles(RuntimeError):
    """The system lets a process open fewer files than there are viewers."""


def allow_files(viewers: int) -> None:
    """Let this process and its children open as many files as the system lets them.

    Raises:
        TooFewFiles: that is too few; the message says what to do.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < viewers + SPARE_FILES:
        raise TooFewFiles(
            f"{viewers:,} viewers need {viewers + SPARE_FILES:,} open files in a process, and the"
            f" system allows {most:,}: raise the hard limit (ulimit -Hn) or ask for fewer --viewers"
        )


class Server:
    """A server process: what it costs so far, and what it weighs."""

    def __init__(self, child: Child, port: int) -> None:
        self.child, self.port = child, port

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        return cpu_s(self.child.pid)

    def kib(self) -> float:
        """What the process weighs, once it has come to rest: its proportional share, KiB."""
        last = self._kib()
        for _ in range(MOST_LOOKS):
            time.sleep(SETTLE_S)
            last, before = self._kib(), last
            if abs(last - before) <= SETTLED * before:
                break
        return last

    def _kib(self) -> float:
        text = Path(f"/proc/{self.child.pid}/smaps_rollup").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
        return float(line.split()[1])


class Readers:
    """A process of readers."""

    def __init__(self, child: Child, crowd: Crowd) -> None:
        self._child = child
        child.tell(msgspec.json.encode(crowd).decode())

    def order(self, order: Order) -> Count:
        """Have an order carried out."""
        self.begin(order)
        return self.end()

    def begin(self, order: Order) -> None:
        """Give an order, and do not wait."""
        self._child.tell(msgspec.json.encode(order).decode())

    def end(self, within_s: float = 120.0) -> Count:
        """Wait until the last order is carried out."""
        return msgspec.json.decode(self._child.hear(within_s), type=Count)

    def connect(self, count: int) -> None:
        """Open so many sockets more.

        Raises:
            RuntimeError: the server did not let them all in.
        """
        told = self.order(Order(do="connect", count=count))
        if told.answers != {"101": count}:
            raise RuntimeError(f"of {count} viewers not all were let in: {told}")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid


@contextlib.contextmanager
def readers(group: int, port: int, *, joins: bool, name: str = "v", deflate: bool = False
) -> Iterator[Readers]:  # fmt: skip
    """Start a process of readers; with ``joins`` they are viewers of the gateway's show."""
    child = Child.start(group, ["-m", "loadtest.fanout.readers"])
    shop = SHOP if joins else ""
    crowd = Crowd(
        host=HOST, port=port, shop=shop, show=SHOW, secret=SECRET, name=name, deflate=deflate
    )
    try:
        yield Readers(child, crowd)
    finally:
        child.end()


@contextlib.contextmanager
def tower(group: int, way: str, *, ticks: bool = False) -> Iterator[Server]:
    """Start one of the others."""
    with socket.create_server((HOST, 0), backlog=2048) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        arguments = ["-m", "loadtest.fanout.towers", way, str(listener.fileno())]
        child = Child.start(
            group, [*arguments, *(["--ticks"] * ticks)], pass_fds=[listener.fileno()]
        )
        try:
            yield Server(child, listener.getsockname()[1])
        finally:
            child.end()


@contextlib.contextmanager
def gateway(
    group: int,
    redis_url: str,
    program: Sequence[str] = ("gateway", "serve"),
    **settings: object,
) -> Iterator[Server]:
    """Start ``holdfast serve``, or a module that does the same and more; wait until it is ready."""
    port = free_ports(1)[0]
    env = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "STRIPE_API_KEY": "sk_test_0123456789abcdef",
        "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
        "HOLDFAST_SECRET": SECRET,
        "HOLDFAST_SHOP": SHOP,
        "HOLDFAST_PORT": str(port),
        **{f"HOLDFAST_{name.upper()}": str(value) for name, value in settings.items()},
    }
    with tempfile.TemporaryFile() as log:
        child = Child.start(group, ["-m", *program], env, stderr=log)
        try:
            if not _gets_ready(child, port):
                log.seek(0)
                raise ChildFailed(f"the gateway did not get ready: {log.read()[-2_000:].decode()}")
            yield Server(child, port)
        finally:
            child.end()


def _gets_ready(child: Child, port: int) -> bool:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=1)
            return True
        time.sleep(PROBE_S)
    return False


async def fill(redis_url: str, shelves: Mapping[str, int]) -> None:
    """Empty the store, and put so many units of each sku on sale; the counts are positive."""
    least = min(shelves.values())
    async with shelf(Places((redis_url,)), {}) as goods:
        await goods.stock(list(shelves), least)
    await receive(redis_url, {sku: units - least for sku, units in shelves.items()}, "more")


async def receive(redis_url: str, units: Mapping[str, int], reference: str) -> None:
    """Put more units of skus on sale, once for each reference."""
    moves = [
        Movement(f"{reference}-{sku}", "received", sku, "main", count, OPENED_AT, "bench")
        for sku, count in units.items()
        if count
    ]
    async with shelf(Places((redis_url,)), {}) as goods:
        movements = Movements(goods.lane, goods.settings)
        for at in range(0, len(moves), MAX_BATCH):
            await movements.apply(SHOP, tuple(moves[at : at + MAX_BATCH]))


class Changes:
    """Changes the stock of the shop, as a sale does: each change is one message of news."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url)
        self._redis.script_load(load("hold_reserve").text)
        self._made = 0

    def make(self) -> None:
        """Reserve a unit of each sku: all of them change, and one frame of 185 bytes tells so."""
        self._made += 1
        wish = Wish(f"buyer{self._made}", f"change{self._made}", tuple(names(SKUS)))
        _, script, keys, *words = call([wish])
        answer = self._redis.evalsha(script, int(keys), *words)
        if b'"HOLD"' not in answer:
            raise RuntimeError(f"the change was not made: {answer!r}")

    def close(self) -> None:
        """Leave the server."""
        self._redis.close()
