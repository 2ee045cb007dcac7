"""Brings one shop's orders to one webhook: each at least once, those of one order in order.

An entry is read, waits until its money is captured, is posted, and is acknowledged. Every order has
a queue of its own, so an order that waits, or fails, keeps up nobody else. What keeps failing is
parked; what follows for the same order is parked behind it, so that nothing overtakes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gateway.clock import rfc3339
from gateway.errors import Unavailable
from gateway.orders.entry import traceparent_of
from gateway.orders.group import OrderGroup
from gateway.orders.stream import START, Entry, Gate, OrderStream
from gateway.pos.delivery import Line, Outcome, Verdict
from gateway.pos.parked import Parking
from gateway.pos.patience import AWAY_MAX_S, Patience
from gateway.pos.queues import SerialQueues
from gateway.pos.tally import WebhookTally
from gateway.settings import Settings
from gateway.traces import Kind, Tracer, about, parse, span

log = logging.getLogger(__name__)

IN_FLIGHT = 16
"""Most deliveries under way at once to one webhook."""

GRACE_S = 2.0
"""How long deliveries under way may still take when the courier is stopped."""

_WINDOW = 2_000
"""Most entries in hand, that is read and not done, of about 2 KB each."""
_FULL_S = 0.05
"""How often to look for room while the window is full."""
_PAGE = 100
_BLOCK_MS = 1_000
_RECHECK_S = 15.0
"""How often to look for pending entries that nobody has in hand: a paused relay that woke up late
and died may have read some."""
_GATE_FIRST_S, _GATE_MAX_S = 0.1, 1.0
"""How often to look whether an order's money is captured."""
_SILENCE_MAX_S = 10.0
"""Longest pause between two knocks at a door nobody opens; so soon after it opens, orders flow."""
_REDRIVE_EVERY_S = 0.5
_REDRIVES = 100
"""Parked orders tried again at once."""
_BEHIND = "an earlier version of this order is parked"

Settle = Callable[[], Awaitable[None]]
"""Records that a delivery has arrived."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a courier takes entries from, where to, and where it leaves what it cannot deliver."""

    orders: OrderStream
    group: OrderGroup
    line: Line
    parking: Parking


class Courier:
    """One webhook's deliveries; ``run`` works until cancelled and then ends by ``GRACE_S``."""

    def __init__(
        self,
        route: Route,
        settings: Settings,
        patience: Patience,
        tally: WebhookTally,
        tracer: Tracer | None = None,
    ) -> None:
        self._orders, self._group = route.orders, route.group
        self._line, self._parking = route.line, route.parking
        self._name = f"{route.parking.shop}/{route.parking.webhook}"
        self._settings = settings
        self._patience = patience
        self._tally = tally
        self._tracer = tracer or Tracer()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._flights: set[asyncio.Task[Outcome]] = set()
        self._in_hand: set[str] = set()
        self._finished: set[str] = set()
        self._parked: dict[str, list[str]] = {}
        self._redriving: set[str] = set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            await self._patience.insist(self._group.open)
            await self._patience.insist(self._load_parked)
            async with asyncio.TaskGroup() as tasks:
                queues = SerialQueues(tasks)
                tasks.create_task(self._read(queues))
                tasks.create_task(self._watch_redrives(queues))
        finally:
            await self._land()
            await self._group.close()
            await self._line.close()

    async def _land(self) -> None:
        """Let deliveries under way end; what is not acknowledged then stays pending."""
        if self._flights:
            await asyncio.wait(self._flights, timeout=GRACE_S)
        late = list(self._flights)
        for flight in late:
            flight.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _read(self, queues: SerialQueues) -> None:
        """Read what is pending, then what is new; after a failure, again what is pending."""
        patience, failures = self._patience, 0
        cursor: str | None = START
        recheck_at = patience.clock.monotonic_s() + _RECHECK_S
        while True:
            while len(self._in_hand) >= _WINDOW:
                await patience.sleep(_FULL_S)
            if patience.clock.monotonic_s() >= recheck_at:
                cursor, recheck_at = START, patience.clock.monotonic_s() + _RECHECK_S
            try:
                page = await self._page(cursor)
            except Unavailable as error:
                failures, cursor = failures + 1, START
                log.warning("relay: %s: %s", self._name, error)
                await patience.pause(failures, AWAY_MAX_S)
                continue
            failures = 0
            for entry in page:
                self._take(entry, queues)
            if cursor is not None:
                cursor = page[-1].id if page else None

    async def _page(self, cursor: str | None) -> list[Entry]:
        # The answer may name as pending what is finished by the time it is here.
        self._finished.clear()
        if cursor is None:
            return await self._group.new(_PAGE, _BLOCK_MS)
        return await self._group.pending(cursor, _PAGE)

    def _take(self, entry: Entry, queues: SerialQueues) -> None:
        if entry.id in self._in_hand or entry.id in self._finished:
            return
        self._in_hand.add(entry.id)
        self._tally.in_hand.set(len(self._in_hand))
        queues.add(entry.order, partial(self._bring, entry))

    async def _bring(self, entry: Entry) -> None:
        """See one entry through: delivered, skipped or parked."""
        with self._step(entry):
            await self._see_through(entry)

    @contextlib.contextmanager
    def _step(self, entry: Entry) -> Iterator[None]:
        """What is done for an event is part of the trace it came about in."""
        trace = parse(traceparent_of(entry.event))
        with (
            about(shop=self._parking.shop, order=entry.order),
            self._tracer.enter(trace, "relay order", Kind.INTERNAL),
        ):
            yield

    async def _see_through(self, entry: Entry) -> None:
        acknowledge = partial(self._orders.acknowledge, self._parking.webhook, entry.id)
        if not await self._may_go(entry.order):
            await self._patience.insist(acknowledge)
            self._tally.skipped.inc()
        elif entry.order in self._parked:
            await self._park(entry, _BEHIND, 0)
        else:
            await self._deliver(entry, acknowledge)
        self._in_hand.discard(entry.id)
        self._finished.add(entry.id)
        self._tally.in_hand.set(len(self._in_hand))

    async def _may_go(self, order: str) -> bool:
        """Wait until the order's money is captured; ``False`` if it never will be."""
        pause_s = _GATE_FIRST_S
        with span("wait for its money"):
            while True:
                gate = await self._patience.insist(partial(self._orders.gate, order))
                if gate is not Gate.SHUT:
                    return gate is Gate.OPEN
                await self._patience.sleep(pause_s)
                pause_s = min(_GATE_MAX_S, pause_s * 2)

    async def _deliver(self, entry: Entry, settle: Settle) -> bool:
        """Try until it has arrived or is parked; answer which."""
        attempts = self._settings.relay_attempts
        for attempt in range(1, attempts + 1):
            outcome = await self._try(entry, settle)
            if outcome.verdict is Verdict.DONE:
                return True
            if outcome.verdict is Verdict.STOP or attempt == attempts:
                await self._park(entry, outcome.reason, attempt)
                break
            self._tally.retried.inc()
            await self._patience.pause(
                attempt, self._settings.relay_backoff_max_s, outcome.retry_after_s
            )
        return False

    async def _try(self, entry: Entry, settle: Settle) -> Outcome:
        """Post once; while nobody is there, knock again.

        The slot is kept meanwhile, so that few orders knock at a door nobody opens.
        """
        silences = 0
        async with self._slots:
            while True:
                flight = asyncio.create_task(self._fly(entry, settle))
                self._flights.add(flight)
                flight.add_done_callback(self._flights.discard)
                # Who is cancelled here leaves the flight to end by itself: see _land.
                outcome = await asyncio.shield(flight)
                if outcome.verdict is not Verdict.UNREACHABLE:
                    return outcome
                silences += 1
                self._tally.unreachable.inc()
                await self._patience.pause(silences, _SILENCE_MAX_S)

    async def _fly(self, entry: Entry, settle: Settle) -> Outcome:
        began_s = self._patience.clock.monotonic_s()
        outcome = await self._line.post(entry)
        self._tally.took.observe(self._patience.clock.monotonic_s() - began_s)
        if outcome.verdict is Verdict.DONE:
            await self._patience.insist(settle)
            self._tally.delivered.inc()
        else:
            log.info("relay: %s to %s: %s", entry.event_id, self._name, outcome.reason)
        return outcome

    async def _load_parked(self) -> None:
        self._parked = {}
        async for entry_id, record in self._parking.listing():
            ids = self._parked.setdefault(record.order, [])
            if entry_id not in ids:
                ids.append(entry_id)
        for ids in self._parked.values():
            ids.sort(key=_place)
        self._count_parked()

    def _count_parked(self) -> None:
        self._tally.parked_now.set(sum(map(len, self._parked.values())))

    async def _park(self, entry: Entry, reason: str, attempts: int) -> None:
        now = rfc3339(self._patience.clock.now_ms())
        await self._patience.insist(partial(self._parking.park, entry, reason, attempts, now))
        ids = self._parked.setdefault(entry.order, [])
        if entry.id not in ids:
            ids.append(entry.id)
        self._count_parked()
        self._tally.parked.inc()
        log.warning("relay: %s to %s is parked: %s", entry.event_id, self._name, reason)

    async def _watch_redrives(self, queues: SerialQueues) -> None:
        """Begin the tries of parked orders that somebody asked for."""
        while True:
            for order in await self._patience.insist(self._parking.wanted):
                if order not in self._redriving and len(self._redriving) < _REDRIVES:
                    self._redriving.add(order)
                    queues.add(order, partial(self._redrive, order))
            await self._patience.sleep(_REDRIVE_EVERY_S)

    async def _redrive(self, order: str) -> None:
        """Deliver what is parked of an order, in order, up to the first that fails again."""
        ids = self._parked.get(order, [])
        for entry in await self._patience.insist(partial(self._parking.entries, tuple(ids))):
            with self._step(entry):
                arrived = await self._deliver(entry, partial(self._parking.settle, entry.id))
            if not arrived:
                break
            ids.remove(entry.id)
        else:
            self._parked.pop(order, None)
        self._count_parked()
        await self._patience.insist(partial(self._parking.tried, order))
        self._redriving.discard(order)


def _place(entry_id: str) -> tuple[int, int]:
    """Where an entry stands in the stream."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)
