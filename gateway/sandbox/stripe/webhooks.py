"""Events on their way to the shop: signed as Stripe signs, tried again until they arrive.

Deliveries wait in one heap, ordered by when they are due. What is committed but not delivered when
the sandbox ends is delivered after its next start, because the event still says so in the store.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import httpx
import msgspec
import stripe

from gateway.sandbox.stripe.faults import Faults
from gateway.sandbox.stripe.store import Json, Store, Where

ATTEMPTS = 12
FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 30.0
TIMEOUT_S = 10.0
CONCURRENT = 8
QUEUE_LIMIT = 50_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Where events go. `kinds` are patterns such as `payment_intent.*`."""

    url: str
    secret: str = field(repr=False)
    kinds: tuple[str, ...] = ("*",)

    def wants(self, event: Json) -> bool:
        """Whether the shop subscribed to this kind of event."""
        return any(fnmatchcase(event["type"], kind) for kind in self.kinds)


@dataclass(frozen=True, slots=True, order=True)
class _Delivery:
    due: float
    turn: int
    event: str
    attempt: int


@dataclass(slots=True)
class Tally:
    """What became of the deliveries so far."""

    delivered: int = 0
    retried: int = 0
    given_up: int = 0
    dropped: int = 0
    overflowed: int = 0


class Webhooks:
    """The queue of deliveries and the task that empties it."""

    def __init__(
        self, target: Target | None, store: Store, clock: Callable[[], float], faults: Faults
    ) -> None:
        self._target = target
        self._store = store
        self._clock = clock
        self._faults = faults
        self._heap: list[_Delivery] = []
        self._turns = itertools.count()
        self._in_flight = 0
        self._woken = asyncio.Event()
        self.tally = Tally()

    @property
    def waiting(self) -> int:
        """Deliveries not yet made, those under way included."""
        return len(self._heap) + self._in_flight

    def schedule(self, event: Json) -> None:
        """Deliver `event` soon, or as the faults in force would have it."""
        if self._target is None or not self._target.wants(event):
            return
        delays = self._faults.deliveries()
        if not delays:
            self.tally.dropped += 1
        for delay in delays:
            self._push(event["id"], delay, attempt=1)

    async def run(self) -> None:
        """Deliver until cancelled."""
        if self._target is None:
            return
        self._resume()
        places = asyncio.Semaphore(CONCURRENT)
        # The proxies of this machine's environment are not meant for a shop on loopback.
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client,
            asyncio.TaskGroup() as deliveries,
        ):
            while True:
                delivery = await self._next()
                self._in_flight += 1
                await places.acquire()
                task = deliveries.create_task(self._deliver(client, self._target, delivery))
                task.add_done_callback(lambda _: places.release())

    def _resume(self) -> None:
        for event in self._store.find(
            [Where("kind", "event"), Where("pending_webhooks", 0, "gt")],
            QUEUE_LIMIT,
            oldest_first=True,
        ):
            self.schedule(event)

    def _push(self, event: str, delay: float, attempt: int) -> None:
        if len(self._heap) >= QUEUE_LIMIT:
            self.tally.overflowed += 1
            return
        due = asyncio.get_running_loop().time() + delay
        heapq.heappush(self._heap, _Delivery(due, next(self._turns), event, attempt))
        self._woken.set()

    async def _next(self) -> _Delivery:
        while True:
            self._woken.clear()
            wait = None
            if self._heap:
                wait = self._heap[0].due - asyncio.get_running_loop().time()
                if wait <= 0:
                    return heapq.heappop(self._heap)
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _deliver(
        self, client: httpx.AsyncClient, target: Target, delivery: _Delivery
    ) -> None:
        try:
            if await self._accepted(client, target, delivery.event):
                self.tally.delivered += 1
                self._settle(delivery.event)
            elif delivery.attempt >= ATTEMPTS:
                self.tally.given_up += 1
                self._settle(delivery.event)
                _log.warning("webhook %s given up after %d attempts", delivery.event, ATTEMPTS)
            else:
                self.tally.retried += 1
                delay = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (delivery.attempt - 1))
                self._push(delivery.event, delay, delivery.attempt + 1)
        finally:
            self._in_flight -= 1

    async def _accepted(self, client: httpx.AsyncClient, target: Target, event: str) -> bool:
        body = msgspec.json.format(msgspec.json.encode(self._store.get("event", event)), indent=2)
        signature = stripe.WebhookSignature.generate_signature_header(
            body.decode(), target.secret, int(self._clock())
        )
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature,
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            response = await client.post(target.url, content=body, headers=headers)
        except httpx.HTTPError as error:
            _log.info("webhook %s not delivered: %r", event, error)
            return False
        return response.is_success

    def _settle(self, identifier: str) -> None:
        event = self._store.get("event", identifier)
        if event is not None:
            self._store.change(event, pending_webhooks=0)
