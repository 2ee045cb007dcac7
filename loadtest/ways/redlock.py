"""Redlock with check-then-act: whoever has the lock looks, then takes.

Written for its own best case: callers of one process queue locally, so that only one of them asks
the servers; a refused attempt is repeated after a short random pause; release compares the token.
It is asked of one server by default, its fastest, or of three independent ones for a majority.

The lock has a time to live, or a dead holder would keep it for ever. Who is paused for longer
than that, by a garbage collection, a page fault, a moved machine, goes on taking without it: that
is what ``pause_every`` and ``pause_s`` show.
"""

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import LockError

from loadtest.ways import Books, Options, Places, Undecided, Wish
from loadtest.ways.counters import Counters, body, connect, number, shelf

POOL = 16
TTL_S = 10.0
PATIENCE_S = 20.0
"""How long one waits for the lock."""
RETRY_S = (0.0005, 0.003)
"""The pause between two attempts, between these two, at random."""
DRIFT = 0.01
"""Of the time to live, that the clocks of the servers may differ."""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


@dataclass(slots=True)
class Lock:
    """A lock for each name, had by whoever has it on most servers."""

    servers: tuple[Redis, ...]
    ttl_s: float
    rng: random.Random = field(default_factory=random.Random)
    _release: str = ""
    _queues: dict[str, asyncio.Lock] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Have the lock inside the block, or at least for its time to live.

        Raises:
            LockError: it was not to be had in time.
        """
        queue = self._queues.setdefault(name, asyncio.Lock())
        async with queue:
            token = await self._acquire(name)
            try:
                yield
            finally:
                await self._give_back(name, token)

    async def _acquire(self, name: str) -> str:
        token = secrets.token_hex(16)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            asked = time.monotonic()
            got = await asyncio.gather(
                *(
                    server.set(name, token, nx=True, px=int(self.ttl_s * 1000))
                    for server in self.servers
                )
            )
            valid_s = self.ttl_s * (1 - DRIFT) - (time.monotonic() - asked)
            if sum(map(bool, got)) > len(self.servers) // 2 and valid_s > 0:
                return token
            if any(got):
                await self._give_back(name, token)
            await asyncio.sleep(self.rng.uniform(*RETRY_S))
        raise LockError(f"{name} was not to be had")

    async def _give_back(self, name: str, token: str) -> None:
        if not self._release:
            for server in self.servers:
                self._release = await server.script_load(RELEASE)
        await asyncio.gather(
            *(server.evalsha(self._release, 1, name, token) for server in self.servers)
        )


@dataclass(slots=True)
class Redlock:
    """Look and take under the lock. The stock is on the first server."""

    goods: Counters
    lock: Lock
    pauses: Iterator[float]
    """How long each holder is stopped between looking and taking."""

    async def stock(self, skus: Sequence[str], units: int) -> None:
        """Fill the shelf."""
        await self.goods.stock(skus, units)
        for server in self.lock.servers:
            await server.script_load(RELEASE)

    async def reserve(self, wish: Wish) -> str | None:
        """Reserve; the hold's id, or ``None`` when sold out."""
        async with contextlib.AsyncExitStack() as locks:
            try:
                for sku in sorted(wish.skus):
                    await locks.enter_async_context(self.lock.held(f"lock:{sku}"))
            except LockError as error:
                raise Undecided from error
            return await self._look_and_take(wish)

    async def _look_and_take(self, wish: Wish) -> str | None:
        shelves, hold = [shelf(sku) for sku in wish.skus], f"hold:{wish.hold}"
        kept, *left = await self.goods.client.mget([hold, *shelves])
        if kept is not None:
            return wish.hold
        if min(map(number, left)) < 1:
            return None
        if pause := next(self.pauses):
            await asyncio.sleep(pause)
        async with self.goods.client.pipeline(transaction=True) as pipe:
            for one in shelves:
                pipe.decr(one)
            pipe.set(hold, body(wish))
            await pipe.execute()
        return wish.hold

    async def books(self) -> Books:
        """Read what was sold from the store itself."""
        return await self.goods.books()


@contextlib.asynccontextmanager
async def redlock(places: Places, options: Options) -> AsyncIterator[Redlock]:
    """Redlock. Options: ``servers`` 1 or 3; ``ttl_s``; every ``pause_every``-th holder is stopped
    for ``pause_s`` between looking and taking.
    """
    urls = places.valkeys[: int(options.get("servers", 1))]
    every, pause_s = int(options.get("pause_every", 0)), options.get("pause_s", 0.0)
    pauses = itertools.cycle([*[0.0] * (every - 1), pause_s] if every else [0.0])
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(connect(url, POOL)) for url in urls]
        lock = Lock(tuple(servers), options.get("ttl_s", TTL_S))
        yield Redlock(Counters(servers[0]), lock, pauses)
