"""The relay: for every shop it has the lease of, a courier for every webhook.

Any number of relays may run. Each looks several times a second which shops there are, takes the
leases that are free, and makes its couriers match the shops' webhooks. A relay that dies loses its
leases after ``LEASE_MS``; the next holder's couriers begin with what it left pending. In a cluster,
shops whose server is away keep up none of the others.
"""

import asyncio
import contextlib
import logging
import random
import ssl
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from msgspec import Struct

from gateway.clock import SystemClock
from gateway.errors import Overloaded, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, served, serving
from gateway.orders.group import OrderGroup
from gateway.orders.stream import OrderStream
from gateway.otlp.address import open_tracer
from gateway.pos.courier import IN_FLIGHT, Courier, Route
from gateway.pos.delivery import Line
from gateway.pos.fence import Fence
from gateway.pos.parked import Parking
from gateway.pos.patience import Patience
from gateway.pos.tally import Tally
from gateway.pos.webhooks import Webhook, WebhookBook
from gateway.pulse import Pulse
from gateway.scripts import load
from gateway.settings import Settings
from gateway.shows.shows import shops
from gateway.traces import Tracer

log = logging.getLogger(__name__)

LEASE_MS = 5_000
"""How long a lease lasts; a dead relay's shops wait at most so long."""

_SCAN_S = 0.5
"""How often leases are renewed, and how soon new shops and webhooks are noticed. A tenth of the
lease: a few rounds may fail before another relay takes over."""

_TRIM_S = 60.0

Place = tuple[str, str]
"""A shop and the name of one of its webhooks."""


@dataclass(slots=True)
class _Desk:
    """A courier at work."""

    webhook: Webhook
    task: asyncio.Task[None]


class Relay:
    """Couriers for the shops this relay has the lease of.

    Args:
        owner: an id no other relay has, for the leases.
        lease_ms: how long a lease lasts, in milliseconds.
        pulse: beats whenever all shops were looked at.
    """

    def __init__(
        self,
        lane: Lane,
        settings: Settings,
        tally: Tally,
        patience: Patience,
        owner: str,
        lease_ms: int = LEASE_MS,
        pulse: Pulse | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._lane = lane
        self._settings = settings
        self._tally = tally
        self._patience = patience
        self._owner = owner
        self._lease_ms = lease_ms
        self._pulse = pulse or Pulse(patience.clock)
        self._tracer = tracer
        self._tls = ssl.create_default_context()
        self._fence = Fence.around(settings.webhook_targets)
        self._shops: list[str] = []
        self._leased: set[str] = set()
        self._desks: dict[Place, _Desk] = {}
        self._trim_at = patience.clock.monotonic_s() + _TRIM_S

    async def run(self) -> None:
        """Relay until cancelled; deliveries under way get a short grace, leases are given back.

        While Redis is away it waits; nothing it does there ends it.
        """
        try:
            while True:
                await self._scan()
                self._pulse.beat()
                await self._patience.sleep(_SCAN_S)
        finally:
            await self._stop(list(self._desks))
            await asyncio.gather(*(self._give_back(shop) for shop in self._leased))

    async def _scan(self) -> None:
        """Renew or take leases, and make the couriers match."""
        with _warned("the list of shops"):
            self._shops = await shops(self._lane)
            self._leased.intersection_update(self._shops)
        books = await asyncio.gather(*(self._look_at(shop) for shop in self._shops))
        wanted = {
            (shop, name): webhook
            for shop, book in zip(self._shops, books, strict=True)
            for name, webhook in book.items()
        }
        await self._match(wanted)
        now_s = self._patience.clock.monotonic_s()
        if now_s >= self._trim_at:
            self._trim_at = now_s + _TRIM_S
            await asyncio.gather(*(self._trim(shop) for shop in self._leased))

    async def _look_at(self, shop: str) -> dict[str, Webhook]:
        """The webhooks of a shop that is ours; while its server is away, all stays as it is."""
        with _warned(f"shop {shop}"):
            mine = await self._ask_lease(shop, self._lease_ms)
            book = await WebhookBook(self._lane, shop).all() if mine else {}
            (self._leased.add if mine else self._leased.discard)(shop)
            return book
        return {name: desk.webhook for (one, name), desk in self._desks.items() if one == shop}

    async def _give_back(self, shop: str) -> None:
        with _warned(f"lease of shop {shop}"):
            await self._ask_lease(shop, 0)

    async def _trim(self, shop: str) -> None:
        with _warned(f"orders of shop {shop}"):
            await OrderStream(self._lane, shop).trim()

    async def _ask_lease(self, shop: str, for_ms: int) -> bool:
        reply = await self._lane.call(load("lease"), [ShopKeys(shop).relay], [self._owner, for_ms])
        return bool(reply[0] == b"HELD")

    async def _match(self, wanted: dict[Place, Webhook]) -> None:
        """Stop couriers that are not wanted, changed or ended; start those that are missing."""
        stale = [
            place
            for place, desk in self._desks.items()
            if wanted.get(place) != desk.webhook or desk.task.done()
        ]
        await self._stop(stale)
        for shop, name in stale:
            if shop in self._leased and (shop, name) not in wanted:
                # Its courier may have made the group again after the webhook was removed.
                with _warned(f"shop {shop}"):
                    await WebhookBook(self._lane, shop).remove(name)
        for place, webhook in wanted.items():
            if webhook.active and place not in self._desks:
                task = asyncio.create_task(self._courier(*place, webhook).run())
                self._desks[place] = _Desk(webhook, task)

    async def _stop(self, places: Collection[Place]) -> None:
        """Stop couriers and wait for their end."""
        tasks = [self._desks[place].task for place in places]
        for task in tasks:
            # Cancelled twice, a courier would drop the deliveries it lets end.
            if not task.cancelling():
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for shop, name in places:
            task = self._desks.pop((shop, name)).task
            if not task.cancelled() and (error := task.exception()):
                log.error("relay: the courier of %s/%s failed", shop, name, exc_info=error)
            self._tally.leave(shop, name)

    def _courier(self, shop: str, name: str, webhook: Webhook) -> Courier:
        settings, clock = self._settings, self._patience.clock
        route = Route(
            orders=OrderStream(self._lane, shop),
            group=OrderGroup(self._lane, shop, name),
            line=Line(webhook, settings.relay_timeout_s, IN_FLIGHT, self._tls, self._fence, clock),
            parking=Parking(self._lane, shop, name),
        )
        tally = self._tally.of(shop, name)
        return Courier(route, settings, self._patience, tally, self._tracer)


@contextlib.contextmanager
def _warned(what: str) -> Iterator[None]:
    """A server that is away is no more than a warning: the next round asks again."""
    try:
        yield
    except (Unavailable, Overloaded) as error:
        log.warning("relay: %s: %s", what, error)


async def run(lane: Lane, settings: Settings, tally: Tally, pulse: Pulse) -> None:
    """Relay until cancelled, with the real clock; the lane is served meanwhile."""
    patience = Patience(SystemClock(), asyncio.sleep, random.SystemRandom())
    tracer = open_tracer(settings, "relay")
    async with contextlib.aclosing(tracer), serving(lane):
        owner = uuid.uuid4().hex
        await Relay(*(lane, settings, tally, patience, owner), pulse=pulse, tracer=tracer).run()


class Retried(Struct, frozen=True):
    """What is to be delivered once more."""

    orders: int
    silent: tuple[str, ...] = ()
    """Shops whose server did not answer: of theirs some, or none."""


async def retry_parked(settings: Settings) -> Retried:
    """Have everything that is parked delivered again.

    The relay that works for a shop makes the tries, and parks again what fails again. Shops whose
    server does not answer are left out.

    Raises:
        Unavailable: nobody tells which shops there are.
    """
    async with served(settings) as lane:
        known = await shops(lane)
        counts = await asyncio.gather(*(_retry_shop(lane, shop) for shop in known))
    silent = [shop for shop, count in zip(known, counts, strict=True) if count is None]
    return Retried(sum(count or 0 for count in counts), tuple(silent))


async def _retry_shop(lane: Lane, shop: str) -> int | None:
    """Orders of a shop that will be tried again; ``None`` when its server does not answer."""
    try:
        book = await WebhookBook(lane, shop).all()
        return sum([await Parking(lane, shop, name).retry() for name in book])
    except (Unavailable, Overloaded):
        return None
