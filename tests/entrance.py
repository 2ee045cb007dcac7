"""The way into a show for tests: shoppers who ask and come in, processes that count, time.

Time is made to pass by making everything that is kept older; nobody has to wait for it.
"""

import asyncio
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.admission import PROCESS_SILENT_MS, Admission
from gateway.clock import SystemClock
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.scripts import load
from gateway.settings import Settings
from gateway.tickets import Ticket, Tokens

SHOW = "tonight"
AGE = """
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('ZINCRBY', KEYS[1], ARGV[1], member)
end
"""


@dataclass
class Entrance:
    """One show of a shop that takes ``settings.show_viewers``."""

    lane: Lane
    settings: Settings
    admission: Admission = field(init=False)
    tokens: Tokens = field(init=False)
    sessions: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.settings, SystemClock())
        self.admission = Admission(self.lane, self.settings, self.tokens, random.Random(1))

    @property
    def keys(self) -> ShopKeys:
        return ShopKeys(self.settings.shop)

    async def asks(self, shopper: str) -> int:
        """The shopper's place in the line; 0 for who is let in."""
        place = await self.admission.ask(self.settings.shop, SHOW, shopper)
        return place.position if place else 0

    async def comes(self, shopper: str, *, needs_place: bool = True) -> None:
        await self.uses(*self.ticket(shopper, needs_place=needs_place))

    async def stays(self, shopper: str) -> None:
        await self.admission.stays(*self.ticket(shopper), f"session-{next(self.sessions)}")

    async def uses(self, ticket: Ticket, token: str, session: str | None = None) -> None:
        """Come in with a ticket that may have been used."""
        session = session or f"session-{next(self.sessions)}"
        self.admission.let_in(await self.admission.arrives(ticket, token, session))

    def ticket(self, shopper: str, *, needs_place: bool = True) -> tuple[Ticket, str]:
        token, _ = self.tokens.sign_ticket(
            self.settings.shop, SHOW, shopper, needs_place=needs_place
        )
        return self.tokens.read_ticket(token), token

    async def counted(self, viewers: int, process: str = "one") -> None:
        """A process says how many viewers it has, which counts for some seconds."""
        keys = (self.keys.viewers(SHOW),)
        await self.lane.call(load("viewers_count"), keys, (process, viewers, PROCESS_SILENT_MS))

    async def later(self, seconds: float) -> None:
        """So much time passes. What the processes counted does not grow old."""
        keys, passed_ms = self.keys, round(seconds * 1000)
        aged = [key(SHOW) for key in (keys.heard, keys.invited, keys.inside)]
        entries = await asyncio.gather(*(self.lane.command("ZRANGE", key, 0, -1) for key in aged))
        for key, members in zip(aged, entries, strict=True):
            if members:
                await self.lane.command("EVAL", AGE, 1, key, -passed_ms, at=key)
        left_ms = await self.lane.command("PTTL", keys.patient(SHOW))
        if left_ms > 0:
            await self.lane.command("PEXPIRE", keys.patient(SHOW), left_ms - passed_ms)

    async def in_line(self) -> list[str]:
        """Who stands in the line, the first in front."""
        line = await self.lane.command("ZRANGE", self.keys.line(SHOW), 0, -1)
        return [shopper.decode() for shopper in line]
