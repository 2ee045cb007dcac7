"""What was sold, as those know it who cannot have lost it: the claims table, and Stripe.

Stripe is read for all shops of the account at once, and at most once for all that ask at the same
time; a shop asks after it was frozen, so that nothing is sold behind the reading's back.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import msgspec
from msgspec import Struct

from gateway.claims.sale import Sale
from gateway.claims.table import Claims
from gateway.clock import Clock
from gateway.errors import Unavailable
from gateway.model import Fulfillment, Units
from gateway.reconcile.statement import Paid, Statement

log = logging.getLogger(__name__)

_FIELDS = msgspec.json.Decoder(dict[str, str])
_PATIENCE_S = 2.0
"""How long Stripe may take when the claims table is there."""
_ROUNDED_MS = 3_600_000
"""Shops that ask for nearly the same time share a reading."""
_NO_SHOP = ""
"""Asks for whoever wants to know only which shops there are."""
_CLAIMS_AT_ONCE = 4
"""Shops whose claims are read at once, for each takes a connection to the table."""


class Sold(Struct, frozen=True):
    """A sale, with all that is known of its order's record."""

    order: str
    hold: str
    shopper: str
    units: Units
    fields: Mapping[str, str]
    phase: Literal["committed", "captured"]


@dataclass(frozen=True, slots=True)
class _Reading:
    began_s: float
    since_ms: int
    shops: set[str]
    """All that have sold anything."""
    paid: Mapping[str, list[Paid]]
    """What those have sold who asked before it began."""


@dataclass(slots=True)
class Books:
    """Reads what was sold."""

    statement: Statement
    claims: Claims | None
    clock: Clock
    _asking: Counter[str] = field(default_factory=Counter)
    """How many wait for what is known of each shop."""
    _last: _Reading | None = None
    """Kept while anybody waits."""
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _claimed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CLAIMS_AT_ONCE))

    async def sold(
        self, shop: str, since_ms: int, claimed_since_ms: int = 0, *, patient: bool = False
    ) -> list[Sold]:
        """All that a shop has sold, as far as anybody but its own server knows: by intents made
        since the one moment, and by claims made since the other.

        The claims table has every sale whose money was captured while it was there. So, with one,
        a shop does not stay frozen for as long as Stripe is silent, unless one is ``patient``.

        Raises:
            Unavailable: the claims table does not answer; or, without one, Stripe.
        """
        found: dict[str, Sold] = {}
        may_do_without = self.claims is not None and not patient
        try:
            async with asyncio.timeout(_PATIENCE_S if may_do_without else None):
                found |= {one.order: one for one in await self._at_stripe(shop, since_ms)}
        except (Unavailable, TimeoutError):
            if not may_do_without:
                raise
            log.warning("recovery: shop %s: Stripe is silent; going by the claims table", shop)
        if self.claims:
            async with self._claimed:
                async for sale in self.claims.sales(shop):
                    if sale.claimed_at >= claimed_since_ms:
                        found[sale.order] = _of_claim(sale)
        return list(found.values())

    async def _at_stripe(self, shop: str, since_ms: int) -> list[Sold]:
        """What a shop has sold by intents made since, as Stripe knows it.

        Raises:
            Unavailable: Stripe does not answer.
        """
        return [_of_paid(paid) for paid in (await self._read_together(shop, since_ms)).paid[shop]]

    async def answer(self, shop: str) -> None:
        """Ask everybody who is asked by ``sold`` for a little, to see that they answer.

        Raises:
            Unavailable: the claims table or Stripe does not.
        """
        if self.claims:
            await self.claims.has(shop, "")
        async with contextlib.aclosing(self.statement.paid(self.clock.now_ms())) as pages:
            await anext(pages)

    async def shops(self, since_ms: int) -> set[str]:
        """The shops that have sold anything since."""
        claimed = await self.claims.shops() if self.claims else ()
        return {*(await self._read_together(_NO_SHOP, since_ms)).shops, *claimed}

    async def _read_together(self, shop: str, since_ms: int) -> _Reading:
        asked_s, since_ms = self.clock.monotonic_s(), since_ms - since_ms % _ROUNDED_MS
        self._asking[shop] += 1
        try:
            async with self._reading:
                if not _answers(self._last, shop, asked_s, since_ms):
                    self._last = await self._read(since_ms)
                return self._last
        finally:
            self._asking -= Counter((shop,))
            if not self._asking:
                self._last = None

    async def _read(self, since_ms: int) -> _Reading:
        reading = _Reading(
            self.clock.monotonic_s(), since_ms, set(), {shop: [] for shop in self._asking}
        )
        async with contextlib.aclosing(self.statement.paid(since_ms)) as pages:
            async for page in pages:
                for paid in page:
                    shop = paid.mark.shop
                    if paid.mark.hold and paid.mark.shopper and paid.mark.show:
                        reading.shops.add(shop)
                        if shop in reading.paid:
                            reading.paid[shop].append(paid)
        return reading


def _answers(
    reading: _Reading | None, shop: str, asked_s: float, since_ms: int
) -> TypeGuard[_Reading]:
    """Whether a reading was begun for this shop after it asked, and goes back far enough."""
    return (
        reading is not None
        and shop in reading.paid
        and reading.began_s >= asked_s
        and reading.since_ms <= since_ms
    )


def _of_claim(sale: Sale) -> Sold:
    """A sale whose money may not be captured yet: whoever settles it finds out."""
    fields = _FIELDS.decode(sale.record)
    return Sold(
        order=sale.order,
        hold=sale.hold,
        shopper=fields["shopper"],
        units=sale.units,
        fields=fields,
        phase="committed",
    )


def _of_paid(paid: Paid) -> Sold:
    """A captured sale. How to reach the shopper Stripe does not know."""
    mark = paid.mark
    fields: dict[str, Any] = {
        "attempt": mark.attempt,
        "token": "",
        "token_kind": "payment_method",
        "hold": mark.hold,
        "shopper": mark.shopper,
        "show": mark.show,
        "amount": paid.amount,
        "currency": paid.currency,
        "lines": msgspec.json.encode(paid.bought.lines).decode(),
        "fulfillment": msgspec.json.encode(Fulfillment()).decode(),
        "attempt_at": paid.created_at,
        "budget_until": paid.created_at,
        "intent": paid.intent,
    }
    return Sold(
        order=mark.order,
        hold=mark.hold or "",
        shopper=mark.shopper or "",
        units=paid.bought.units,
        fields={name: str(value) for name, value in fields.items()},
        phase="captured",
    )
