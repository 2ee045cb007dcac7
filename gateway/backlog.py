"""What waits, and for how long: read from Redis now and then, for whoever is on call.

The sweep reads it, which goes round all shops in any case: so it is known also of what the relay
should do while no relay runs. Several sweeps read the same; take the highest.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from gateway.checkout.phases import Phase
from gateway.durability import Durability
from gateway.errors import HoldfastError
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply, pairs
from gateway.pos.webhooks import WebhookBook
from gateway.pulse import Pulse
from gateway.shows.shows import shops
from gateway.stock import rows
from gateway.stock.now import now

log = logging.getLogger(__name__)

PHASES = (Phase.PAYING, Phase.COMMITTED, Phase.VOIDING)
"""In which a payment waits for somebody."""
_EVERY_S = 10.0
_SHOPS_AT_ONCE = 16
_LOOKED_INTO = 200
"""Payments of one shop whose age is read, those first that are looked at next; all are counted."""


class Waiting(Struct, frozen=True):
    """What waits, of one shop or of all. Ages are in seconds, of the oldest; 0 when none waits."""

    shops: int = 0
    holds: int = 0
    """Active holds."""
    hold_overdue_s: float = 0.0
    """By how long a hold has outlived its deadline."""
    payments: int = 0
    """That are not settled."""
    paying_s: float = 0.0
    committed_s: float = 0.0
    """Sold, and the money not captured yet."""
    voiding_s: float = 0.0
    undelivered: int = 0
    """Orders that a webhook has not got yet, each webhook counted by itself."""
    undelivered_s: float = 0.0
    parked: int = 0
    """Deliveries given up."""
    shortfall_units: int = 0
    """Units that are promised and not there."""


def together(several: Iterable[Waiting]) -> Waiting:
    """What waits in several shops: counts are added, of ages the highest counts."""
    every = list(several)
    joined = {
        name: (max if name.endswith("_s") else sum)(getattr(one, name) for one in every)
        for name in Waiting.__struct_fields__
        if every
    }
    return Waiting(**joined)


@dataclass(slots=True)
class Backlog:
    """Keeps what waits in all shops, as it was a few seconds ago."""

    lane: Lane
    durability: Durability
    waiting: Waiting = field(default_factory=Waiting)
    read: Pulse = field(default_factory=Pulse)
    """Beats whenever everything was read."""
    _of: dict[str, Waiting] = field(default_factory=dict)
    """By shop, as it was when its server answered last."""
    _trouble: str = ""
    """What could not be read the last time, in words."""

    async def run(self) -> None:
        """Read again and again, until cancelled; what cannot be read stays as it was."""
        while True:
            try:
                await self.look()
            except HoldfastError as error:
                self._note(f"nobody tells which shops there are: {error}")
            except Exception:
                # Whatever is wrong with the figures, holds lapse and payments go on.
                log.exception("backlog: it could not be read")
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Read it once, and how the servers are. Of shops that do not answer the last figures stay:
        without them what waits would seem done.

        Raises:
            Unavailable, Overloaded: nobody tells which shops there are; the figures stay.
        """
        await self.durability.report()
        known = await shops(self.lane)
        found: dict[str, Waiting] = {}
        for at in range(0, len(known), _SHOPS_AT_ONCE):
            some = known[at : at + _SHOPS_AT_ONCE]
            told = await asyncio.gather(*map(self._of_shop, some))
            found |= {shop: one for shop, one in zip(some, told, strict=True) if one}
        before = {shop: self._of[shop] for shop in known if shop in self._of}
        self._of = before | found
        self.waiting = together(self._of.values())
        silent = [shop for shop in known if shop not in found]
        self._note(f"{len(silent)} shops do not answer, {silent[0]} for one" if silent else "")
        if not silent:
            self.read.beat()

    def _note(self, trouble: str) -> None:
        """Log what cannot be read when it changes; the figures look well meanwhile."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("backlog: %s; what waits is told as it was", trouble)
        else:
            log.info("backlog: everything is read again")

    async def _of_shop(self, shop: str) -> Waiting | None:
        try:
            return await of_shop(self.lane, shop)
        except HoldfastError as error:
            log.debug("backlog: shop %s: %s", shop, error)
        except Exception:
            log.exception("backlog: shop %s: it could not be read", shop)
        return None


async def of_shop(lane: Lane, shop: str) -> Waiting:
    """What waits in one shop.

    Raises:
        Unavailable, Overloaded: its server does not answer.
    """
    keys, now_ms = ShopKeys(shop), await now(lane, shop)
    holds, first, payments, due, stock = await asyncio.gather(
        lane.command("ZCARD", keys.deadlines),
        lane.command("ZRANGE", keys.deadlines, 0, 0, "WITHSCORES"),
        lane.command("ZCARD", keys.unsettled),
        lane.command("ZRANGE", keys.unsettled, 0, _LOOKED_INTO - 1),
        lane.command("HGETALL", keys.stock),
    )
    ages_s = await _payments(lane, keys, [order.decode() for order in due], now_ms)
    undelivered, undelivered_s, parked = await _orders(lane, shop, now_ms)
    found, unreadable = rows.legible(pairs(stock))
    if unreadable:
        log.error("backlog: shop %s: the stock of %s cannot be read", shop, ", ".join(unreadable))
    short = (-row.available for places in found.values() for row in places)
    return Waiting(
        shops=1,
        holds=holds,
        hold_overdue_s=_age_s(float(first[1]), now_ms) if first else 0.0,
        payments=payments,
        **{f"{phase}_s": ages_s[phase] for phase in PHASES},
        undelivered=undelivered,
        undelivered_s=undelivered_s,
        parked=parked,
        shortfall_units=sum(units for units in short if units > 0),
    )


async def _payments(
    lane: Lane, keys: ShopKeys, orders: Sequence[str], now_ms: int
) -> dict[Phase, float]:
    """For how long the oldest payment of each phase has been under way, in seconds."""
    ages_s = dict.fromkeys(PHASES, 0.0)
    known = await asyncio.gather(
        *(lane.command("HMGET", keys.order(one), "phase", *_SINCE) for one in orders)
    )
    for phase, begun, committed in known:
        name = phase.decode() if phase else ""
        if name in ages_s:
            since_ms = committed if name == Phase.COMMITTED and committed else begun
            age_s = _age_s(float(since_ms or now_ms), now_ms)
            ages_s[Phase(name)] = max(ages_s[Phase(name)], age_s)
    return ages_s


_SINCE = ("attempt_at", "committed_at")


async def _orders(lane: Lane, shop: str, now_ms: int) -> tuple[int, float, int]:
    """Orders not delivered, the age of the oldest in seconds, and those parked."""
    keys, book = ShopKeys(shop), await WebhookBook(lane, shop).all()
    active = [name for name, webhook in book.items() if webhook.active]
    parked = await asyncio.gather(*(lane.command("HLEN", keys.parked(name)) for name in book))
    # Of a stream that is not there Redis tells no groups, but an error.
    if not active or not await lane.command("XLEN", keys.orders):
        return 0, 0.0, sum(parked)
    told = await lane.command("XINFO", "GROUPS", keys.orders, at=keys.orders)
    groups = {facts["name"].decode(): facts for facts in map(pairs, told)}
    counts, oldest_ms = 0, now_ms
    for name in active:
        count, first = await _of_group(lane, keys.orders, name, groups.get(name))
        counts += count
        if first:
            oldest_ms = min(oldest_ms, int(first.partition(b"-")[0]))
    return counts, _age_s(oldest_ms, now_ms), sum(parked)


async def _of_group(
    lane: Lane, stream: str, name: str, facts: dict[str, Reply] | None
) -> tuple[int, bytes | None]:
    """How many entries a webhook's group is not done with, and the first of them."""
    if facts and facts["pending"]:
        _, first, *_ = await lane.command("XPENDING", stream, name)
        return facts["pending"] + int(facts.get("lag") or 0), first
    after = facts["last-delivered-id"].decode() if facts else "0-0"
    found = await lane.command("XRANGE", stream, f"({after}", "+", "COUNT", 1)
    if not found:
        return 0, None
    unread = facts.get("lag") if facts else await lane.command("XLEN", stream)
    return int(unread or 1), found[0][0]


def _age_s(since_ms: float, now_ms: int) -> float:
    return max(0.0, (now_ms - since_ms) / 1000)
