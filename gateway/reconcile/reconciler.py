"""Reconciles Redis, Stripe and the order stream: every order is looked at from all three sides.

A look reads the stream's event ids, then Stripe's pages newest first, and for each page the orders'
records; at last the orders Stripe did not list. All of that moves while it is read, so that what
seems wrong is only a suspicion: it is looked at again by itself, with the record read before and
after the money, and named only if the record stood still.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from msgspec import Struct

from gateway.checkout.provider import Declined, NotPossible
from gateway.checkout.settle import Settler
from gateway.errors import HoldfastError
from gateway.keys import ShopKeys
from gateway.orders.index import EventIndex
from gateway.orders.stream import HISTORY_MS
from gateway.reconcile.differences import (
    REPAIRS,
    STANDING_FIELDS,
    Charge,
    Difference,
    Repair,
    Standing,
    Unreadable,
    of_charge,
    of_event,
    standing,
)
from gateway.reconcile.findings import Finding, Mend, Reconciliation
from gateway.reconcile.repairs import Repairs
from gateway.reconcile.statement import Statement
from gateway.shows.shows import shops

log = logging.getLogger(__name__)

T = TypeVar("T")

AUTHORIZATION_LIFE_MS = 7 * 86_400_000
"""How long a card's authorization lasts. What is older holds no money."""

_MARGIN_MS = 1_800_000
"""How much wider than asked the stream and Stripe are read: a payment takes its time from one to
the other, and their clocks may differ."""
_SLICE = 200
"""Records read at once: less than one round trip of the lane takes."""
_AT_ONCE = 8
"""Suspicions looked into at once: shoppers come first at Stripe."""
_FINDINGS = 1_000
"""Most differences a look tells one by one. It counts them all."""
_UNKNOWN_REFUNDS = 10
"""Payments of unknown orders that a look gives back; if there are more, none: who has more has lost
a database, not a few orders."""


Progress = Callable[[int, int], None]
"""Told how many intents and differences there were so far."""


@dataclass(slots=True)
class Reconciler:
    """Looks at all orders of this Redis, or of one shop."""

    settler: Settler
    found: Counter[tuple[Difference, bool]] = field(default_factory=Counter)
    """Differences so far, by name and whether they were repaired."""

    async def look(
        self,
        shop: str | None,
        since_ms: int,
        mend: Mend = Mend.NOTHING,
        progress: Progress | None = None,
    ) -> Reconciliation:
        """Compare everything since a moment; it may run while the shops sell.

        Of several shops those are left out, and named, whose server does not answer.

        Raises:
            HoldfastError: Redis or Stripe does not answer; nothing is half done.
        """
        look = _Look(self.settler, shop, since_ms, mend, self.found, progress or _silent)
        return await look.run()


def _silent(intents: int, differences: int) -> None:
    """Nobody wants to know."""


class _Suspect(Struct, frozen=True):
    """An order, and the intent that does not go with it, if it is about money; or the entry of the
    stream."""

    shop: str
    order: str
    intent: str | None = None
    entry: str | None = None


class _Verdict(Struct, frozen=True):
    difference: Difference
    charge: Charge | None = None
    event_id: str = ""


@dataclass(slots=True)
class _Look:
    """One look, under way."""

    settler: Settler
    shop: str | None
    since_ms: int
    mend: Mend
    found: Counter[tuple[Difference, bool]]
    progress: Progress
    statement: Statement = field(init=False)
    repairs: Repairs = field(init=False)
    started_ms: int = field(init=False)
    indexes: dict[str, EventIndex] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    """Shops of which nothing is said, for their server does not answer."""
    compared: set[tuple[str, str]] = field(default_factory=set)
    """Orders whose own intent was compared."""
    orders: set[tuple[str, str]] = field(default_factory=set)
    intents: int = 0
    captures: int = 0
    captured: Counter[str] = field(default_factory=Counter)
    counts: Counter[Difference] = field(default_factory=Counter)
    repaired: int = 0
    by_hand: list[tuple[_Suspect, _Verdict]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        settler = self.settler
        self.statement = Statement(settler.payments.provider, settler.settings.environment)
        self.repairs = Repairs(settler, self.statement)
        self.started_ms = settler.clock.now_ms()

    async def run(self) -> Reconciliation:
        """Look at everything once."""
        began_s = self.settler.clock.monotonic_s()
        for shop in await self._shops():
            await self._answers(shop)
        async with contextlib.aclosing(self.statement.pages(self.since_ms - _MARGIN_MS)) as pages:
            async for page in pages:
                ours = [one for one in page.charges if self._wanted(one.shop)]
                await self._compare([one for one in ours if await self._answers(one.shop)])
                self.progress(self.intents, self.counts.total())
        for shop, index in list(self.indexes.items()):
            await self._compare_unlisted(shop, index)
            await self._compare_entries(shop, index)
        await self._mend_by_hand()
        return Reconciliation(
            since_ms=self.since_ms,
            shops=len(self.indexes),
            silent=tuple(sorted(self.silent)),
            intents=self.intents,
            orders=len(self.orders),
            events=sum(index.entries for index in self.indexes.values()),
            differences={str(name): count for name, count in sorted(self.counts.items())},
            repaired=self.repaired,
            left=self.counts.total() - self.repaired,
            seconds=round(self.settler.clock.monotonic_s() - began_s, 3),
            findings=tuple(self.findings),
            captures=self.captures,
            captured=dict(self.captured),
        )

    def _wanted(self, shop: str) -> bool:
        return self.shop is None or shop == self.shop

    async def _shops(self) -> list[str]:
        if self.shop is not None:
            return [self.shop]
        return await shops(self.settler.lane)

    async def _answers(self, shop: str) -> bool:
        """Whether a shop's server does; if not, the others are looked at without it.

        Raises:
            HoldfastError: it does not, and no other shop is asked for.
        """
        if shop in self.silent:
            return False
        try:
            await self._index(shop)
        except HoldfastError as error:
            if self.shop is not None:
                raise
            log.warning("reconcile: shop %s is left out: %s", shop, error)
            self.silent.add(shop)
            return False
        return True

    async def _index(self, shop: str) -> EventIndex:
        """A shop's events; Stripe may name a shop this Redis has forgotten."""
        index = self.indexes.get(shop)
        if index is None:
            since_ms = max(self.since_ms - _MARGIN_MS, self.started_ms - HISTORY_MS)
            index = EventIndex(self.settler.lane, shop, since_ms)
            await index.catch_up()
            self.indexes[shop] = index
        return index

    async def _compare(self, charges: Sequence[Charge]) -> None:
        """Compare a page of intents with the records and the stream."""
        records = await self._standings([(charge.shop, charge.order) for charge in charges])
        suspects = []
        for charge, order in zip(charges, records, strict=True):
            index = await self._index(charge.shop)
            self.intents += 1
            if charge.taken and charge.created_at >= self.since_ms:
                self.captures += 1
                self.captured[charge.currency] += charge.received - charge.refunded
            self.orders.add((charge.shop, charge.order))
            if isinstance(order, Unreadable):
                if (charge.shop, charge.order) not in self.compared:
                    suspects.append(_Suspect(charge.shop, charge.order))
                self.compared.add((charge.shop, charge.order))
                continue
            if order and order.owns(charge):
                self.compared.add((charge.shop, charge.order))
            if self._of_charge(order, charge, index):
                suspects.append(_Suspect(charge.shop, charge.order, charge.id))
            if order and order.owns(charge) and self._of_event(order, charge.order, index):
                suspects.append(_Suspect(charge.shop, charge.order))
        await self._look_into(suspects)

    async def _compare_unlisted(self, shop: str, index: EventIndex) -> None:
        """Compare the stream's orders whose own intent Stripe did not list."""
        unlisted = (
            order
            for order in index.orders()
            if (shop, order) not in self.compared
            and self.since_ms <= index.first_ms(order) <= self.started_ms
        )
        for some in _sliced(unlisted, _SLICE):
            records = await self._standings([(shop, order) for order in some])
            suspects = []
            for name, order in zip(some, records, strict=True):
                self.orders.add((shop, name))
                if isinstance(order, Unreadable) or self._of_event(order, name, index):
                    suspects.append(_Suspect(shop, name))
                if isinstance(order, Standing) and order.sold:
                    suspects.append(_Suspect(shop, name, order.intent or ""))
            await self._look_into(suspects)

    async def _compare_entries(self, shop: str, index: EventIndex) -> None:
        for bad in index.unreadable:
            suspect = _Suspect(shop, bad.order, entry=bad.entry)
            self._note(suspect, _Verdict(Difference.EVENT_UNREADABLE), repaired=False)
        for copy in index.copies:
            repaired = self.mend is not Mend.NOTHING and await self.repairs.drop(shop, copy)
            verdict = _Verdict(Difference.EVENT_DOUBLED)
            self._note(_Suspect(shop, copy.order), verdict, repaired=repaired)

    async def _standings(
        self, orders: Sequence[tuple[str, str]]
    ) -> list[Standing | Unreadable | None]:
        lane = self.settler.lane
        values = await asyncio.gather(
            *(
                lane.command("HMGET", ShopKeys(shop).order(order), *STANDING_FIELDS)
                for shop, order in orders
            )
        )
        return [standing(row) for row in values]

    def _of_charge(
        self, order: Standing | None, charge: Charge, index: EventIndex
    ) -> Difference | None:
        handed_on = bool(index.events(charge.order))
        return of_charge(order, charge, self.settler.clock.now_ms(), handed_on=handed_on)

    def _of_event(self, order: Standing | None, name: str, index: EventIndex) -> Difference | None:
        """What the stream lacks is only known within the window; what it keeps longer than we keep
        orders is no difference.
        """
        difference = of_event(order, index.events(name))
        if difference is Difference.EVENT_MISSING and order:
            return difference if order.committed_at >= index.since_ms else None
        if difference is Difference.EVENT_WITHOUT_RECORD:
            kept_ms = self.settler.settings.order_retention_days * 86_400_000
            recent = index.first_ms(name) > self.started_ms - kept_ms + _MARGIN_MS
            return difference if recent else None
        return difference

    async def _look_into(self, suspects: list[_Suspect]) -> None:
        for some in _sliced(suspects, _AT_ONCE):
            judging = (self._judge(suspect) for suspect in some)
            # Whoever fails, the others end before the look does.
            for outcome in await asyncio.gather(*judging, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _judge(self, suspect: _Suspect) -> None:
        """Look again at one order, name what is wrong, and repair it."""
        verdict = await self._verdict(suspect)
        if verdict is None:
            return
        may = self._may_mend(verdict)
        by_hand = REPAIRS[verdict.difference] is Repair.GIVE_BACK_BY_HAND
        if may and by_hand and len(self.by_hand) <= _UNKNOWN_REFUNDS:
            self.by_hand.append((suspect, verdict))
            return
        repaired = may and not by_hand and await self._mend(suspect, verdict)
        self._note(suspect, verdict, repaired=repaired)

    async def _verdict(self, suspect: _Suspect) -> _Verdict | None:
        """What is wrong as of now; ``None`` while the order is moving."""
        shop, name = suspect.shop, suspect.order
        index = await self._index(shop)
        (before,) = await self._standings([(shop, name)])
        charge = await self.statement.read(suspect.intent) if suspect.intent else None
        (order,) = await self._standings([(shop, name)])
        # The record first, then the stream: a sale writes both at once.
        await index.catch_up()
        if order != before:
            return None
        if isinstance(order, Unreadable):
            return _Verdict(Difference.RECORD_UNREADABLE)
        if suspect.intent is None:
            difference = self._of_event(order, name, index)
            return (
                _Verdict(difference, None, order.event_id if order else "") if difference else None
            )
        if charge is None:
            owned = order is not None and order.sold and suspect.intent == (order.intent or "")
            return _Verdict(Difference.SOLD_WITHOUT_MONEY) if owned else None
        difference = self._of_charge(order, charge, index)
        return _Verdict(difference, charge) if difference else None

    def _may_mend(self, verdict: _Verdict) -> bool:
        repair = REPAIRS[verdict.difference]
        if self.mend is Mend.NOTHING or repair is Repair.NONE:
            return False
        return repair is not Repair.GIVE_BACK_BY_HAND or self.mend is Mend.ALL

    async def _mend_by_hand(self) -> None:
        """Give back what unknown orders have paid, unless there are so many that it is Redis that
        is wrong.
        """
        few = len(self.by_hand) <= _UNKNOWN_REFUNDS
        if not few:
            log.error("reconcile: too many orders are unknown here: is this the right Redis?")
        for suspect, verdict in self.by_hand:
            self._note(suspect, verdict, repaired=few and await self._mend(suspect, verdict))

    async def _mend(self, suspect: _Suspect, verdict: _Verdict) -> bool:
        """Repair it; it is repaired when another look no longer finds the same."""
        try:
            await self.repairs.mend(
                verdict.difference, suspect.shop, suspect.order, verdict.charge, verdict.event_id
            )
            after = await self._verdict(suspect)
        except (HoldfastError, Declined, NotPossible) as error:
            log.warning("reconcile: order %s: not repaired: %s", suspect.order, error)
            return False
        except Exception:
            # Its record may hold what no repair can read. The others are looked at all the same.
            log.exception("reconcile: order %s: a repair failed", suspect.order)
            return False
        return after is None or after.difference is not verdict.difference

    def _note(self, suspect: _Suspect, verdict: _Verdict, *, repaired: bool) -> None:
        name = verdict.difference
        self.counts[name] += 1
        self.repaired += repaired
        self.found[name, repaired] += 1
        if len(self.findings) < _FINDINGS:
            about = (suspect.shop, suspect.order, suspect.intent, repaired, suspect.entry)
            self.findings.append(Finding(name, *about))
        for_a_person = self.mend is not Mend.NOTHING and not repaired
        log.log(
            logging.ERROR if for_a_person else logging.WARNING,
            "reconcile: shop %s: order %s: %s%s",
            suspect.shop,
            suspect.order,
            name,
            ", repaired" if repaired else "",
        )


def _sliced(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut things into lists of a size; the last may be shorter."""
    rest = iter(things)
    while some := list(islice(rest, size)):
        yield some
