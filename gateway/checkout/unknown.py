"""What Stripe told us about orders that nobody here knows yet: kept, and looked at again.

An event may overtake what it is about, or come while a lost database is being rebuilt. Stripe has
our 200 and will not repeat it, so it is ours to remember. What stays unknown for as long as Stripe
itself would have repeated it is dropped, and a log line says so.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from gateway.clock import Clock
from gateway.errors import HoldfastError, NotFound
from gateway.keys import unknown_events
from gateway.lane import Lane
from gateway.model import Id
from gateway.settings import Settings

log = logging.getLogger(__name__)

KEPT_MS = 72 * 3_600_000
_SOONEST_MS = 10_000
_LATEST_MS = 3_600_000
_MOST = 10_000
_AT_ONCE = 100


class About(Struct, frozen=True):
    """What an event is about, and when Stripe made it."""

    shop: Id
    order: Id
    intent: str
    created_ms: int


_ABOUT = msgspec.json.Decoder(About)


@dataclass(frozen=True, slots=True)
class UnknownEvents:
    """Events parked in Redis, for all processes."""

    lane: Lane
    clock: Clock
    settings: Settings

    @property
    def _key(self) -> str:
        return unknown_events(self.settings.environment)

    async def keep(self, about: About) -> None:
        """Park an event; a copy of it is the same entry."""
        if await self.lane.command("ZCARD", self._key) >= _MOST:
            log.error("webhook: too many unknown orders; forgetting order %s", about.order)
            return
        entry = msgspec.json.encode(about)
        await self.lane.command("ZADD", self._key, "NX", self._next_ms(about), entry)

    async def retry(self, take: Callable[[About], Awaitable[object]]) -> int:
        """Hand over what is due; return how many are not unknown any more."""
        members = await self.lane.command(
            *("ZRANGE", self._key, "-inf", self.clock.now_ms()),
            *("BYSCORE", "LIMIT", 0, _AT_ONCE),
        )
        return sum([await self._try(member, take) for member in members])

    async def _try(self, member: bytes, take: Callable[[About], Awaitable[object]]) -> bool:
        try:
            about = _ABOUT.decode(member)
        except msgspec.DecodeError:
            log.error("webhook: an entry of the unknown orders cannot be read; it is forgotten")
            await self.lane.command("ZREM", self._key, member)
            return False
        await self.lane.command("ZADD", self._key, "XX", self._next_ms(about), member)
        try:
            await take(about)
        except NotFound:
            if self.clock.now_ms() < about.created_ms + KEPT_MS:
                return False
            log.error("webhook: order %s stayed unknown; its event is forgotten", about.order)
        except HoldfastError as error:
            log.warning("webhook: order %s: %s", about.order, error.code)
            return False
        except Exception:
            # One that cannot be taken keeps no other waiting.
            log.exception("webhook: order %s: a step failed", about.order)
            return False
        await self.lane.command("ZREM", self._key, member)
        return True

    def _next_ms(self, about: About) -> int:
        """When to look again, more and more rarely."""
        now_ms = self.clock.now_ms()
        later_ms = max(_SOONEST_MS, min((now_ms - about.created_ms) // 2, _LATEST_MS))
        return now_ms + later_ms
