"""The audit over HTTP: a shop's stock with its ledger, its money with its orders. It mends nothing.

An audit reads the whole ledger, and of the payments a page of Stripe's for each hundred; so there
is one at a time in a process, and it has a time limit. What is too much for that is audited by
``holdfast audit``, beside Redis.
"""

import asyncio
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answers import as_json
from gateway.api.callers import shop_with
from gateway.api.inputs import query_flag, query_number
from gateway.clock import parse_rfc3339
from gateway.errors import Invalid, RateLimited, Unavailable
from gateway.keys import ShopKeys
from gateway.orders.stream import MAX_PAGE, START, OrderStream
from gateway.reconcile.findings import Mend, Reconciliation
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import Rooms
from gateway.stock.audit import Verdict, audit

WITHIN_S = 60
"""Longest that one audit may take."""
_RETRY_MS = 2_000
_MOST_HOURS = 24 * 30
"""As far back as the stream of orders goes."""
_ROUND_TRIPS = 9
"""Asked one after the other, to tell how slow Redis is."""


class Sold(Struct, frozen=True):
    """Orders whose money is ours and was not given back whole; amounts in minor units."""

    orders: int
    amount: dict[str, int]
    """By currency, less what was given back."""
    confirmed: int
    """Orders that were confirmed, whatever became of them since: so many the POS got."""


class Payments(Struct, frozen=True):
    """The money of one shop: what Stripe has, what the orders say, and each difference."""

    reconciliation: Reconciliation
    sold: Sold


class Report(Struct, frozen=True, omit_defaults=True):
    """What an audit found."""

    mode: Literal["live", "test"]
    """Whether money is real."""
    stock: Verdict
    unsettled: int
    """Payments and refunds that have not come to rest: until they have, sums may differ."""
    redis_ms: float
    """What a round trip to Redis took from here just now, the median of a few."""
    payments: Payments | None = None


@dataclass(slots=True)
class Audits:
    """One audit at a time, for whoever asks with an admin key."""

    rooms: Rooms
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, request: Request) -> Response:
        """``GET /v1/audit?payments=&since_h=``: audit the key's shop, and its money if asked.

        Raises:
            RateLimited: another audit is under way here.
            Unavailable: it took too long, or Redis or Stripe does not answer.
        """
        shop = shop_with(self.rooms, request, "admin")
        payments = query_flag(request, "payments")
        hours = query_number(request, "since_h", 24)
        if not 1 <= hours <= _MOST_HOURS:
            raise Invalid(f"since_h must be between 1 and {_MOST_HOURS}.")
        if self._turn.locked():
            raise RateLimited("An audit is under way here.", retry_after_ms=_RETRY_MS)
        try:
            async with self._turn, asyncio.timeout(WITHIN_S):
                return as_json(await self._report(shop, hours if payments else None))
        except TimeoutError:
            raise Unavailable(
                f"The audit took longer than {WITHIN_S} s; run `holdfast audit` beside Redis."
            ) from None

    async def _report(self, shop: str, hours: int | None) -> Report:
        rooms = self.rooms
        payments = await self._payments(shop, hours) if hours else None
        return Report(
            mode="live" if rooms.settings.live else "test",
            stock=await audit(rooms.lane, shop),
            unsettled=int(await rooms.lane.command("ZCARD", ShopKeys(shop).unsettled)),
            redis_ms=await self._redis_ms(shop),
            payments=payments,
        )

    async def _payments(self, shop: str, hours: int) -> Payments:
        since_ms = self.rooms.clock.now_ms() - hours * 3_600_000
        found = await Reconciler(self.rooms.settler).look(shop, since_ms, Mend.NOTHING)
        return Payments(found, await self._sold(shop, since_ms))

    async def _sold(self, shop: str, since_ms: int) -> Sold:
        stream, cursor = OrderStream(self.rooms.lane, shop), START
        left: dict[str, tuple[str, int]] = {}
        while True:
            page = await stream.page(cursor, MAX_PAGE)
            for order in (event.data for event in page.orders):
                if parse_rfc3339(order.occurred_at) >= since_ms:
                    back = sum(refund.amount.amount for refund in order.refunds)
                    left[order.id] = (order.total.currency, order.total.amount - back)
            if page.next == cursor:
                break
            cursor = page.next
        amount: Counter[str] = Counter()
        for currency, units in left.values():
            amount[currency] += units
        paid = sum(units > 0 for _, units in left.values())
        return Sold(paid, {name: units for name, units in amount.items() if units}, len(left))

    async def _redis_ms(self, shop: str) -> float:
        clock, took = self.rooms.clock, []
        for _ in range(_ROUND_TRIPS):
            began_s = clock.monotonic_s()
            await self.rooms.lane.command("HGET", ShopKeys(shop).meta, "version")
            took.append((clock.monotonic_s() - began_s) * 1000)
        return round(statistics.median(took), 3)
