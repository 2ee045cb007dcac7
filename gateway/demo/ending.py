"""How a run ends: the crowd goes, payments come to rest, everything is counted and audited."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gateway.demo.child import Child
from gateway.demo.crowd_watch import CrowdWatch
from gateway.demo.family import Family
from gateway.demo.parts import Site, audit
from gateway.demo.reading import TROUBLE, Reader
from gateway.demo.stop import Stop
from gateway.demo.summary import Sold, Summary, sold
from gateway.sandbox.stripe.faults import NO_FAULTS, FaultPlan

T = TypeVar("T")

_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each step of the end may take, in seconds."""

    crowd: float
    rest: float
    audit: float
    processes: float


PATIENT = Pace(crowd=25.0, rest=90.0, audit=30.0, processes=8.0)
"""Rest: a payment left at the bank's question is voided when its budget ends, 30 s at most; one
whose request a fault left without an answer is asked about once that has timed out."""
HURRIED = Pace(crowd=0.7, rest=0.3, audit=1.5, processes=1.9)
"""Together under the 5 s that Ctrl-C may take."""


@dataclass(slots=True)
class Ending:
    """The last act. Whenever somebody asks to stop meanwhile, it goes on in a hurry."""

    site: Site
    family: Family
    reader: Reader
    stop: Stop

    @property
    def pace(self) -> Pace:
        """How fast it has to go now."""
        return HURRIED if self.stop.asked.is_set() else PATIENT

    async def crowd_goes(self, crowd: CrowdWatch) -> None:
        """Tell the crowd to go, and wait for those who are paying."""
        crowd.child.terminate()

        async def is_gone() -> bool:
            return not crowd.child.is_running

        await self._until(is_gone, lambda pace: pace.crowd)
        crowd.child.kill()
        await crowd.last_report()

    async def calm(self) -> bool:
        """Switch the sandbox's faults off; whether there were any.

        What they did has to be put right by whoever they did it to. An outage that never ends
        could not be.
        """
        client, url = self.reader.client, self.site.faults_url
        headers = {"authorization": f"Bearer {self.site.home.secrets.stripe_key}"}
        with contextlib.suppress(*TROUBLE):
            shown = (await client.get(url, headers=headers)).raise_for_status()
            if msgspec.json.decode(shown.content, type=FaultPlan) != NO_FAULTS:
                none = msgspec.json.encode(NO_FAULTS)
                (await client.post(url, headers=headers, content=none)).raise_for_status()
                return True
        return False

    async def rest(self) -> bool:
        """Wait until no payment is under way and the till has every order; whether it came so."""

        async def is_resting() -> bool:
            with contextlib.suppress(*TROUBLE):
                if await self.reader.unsettled():
                    return False
                till = await self.reader.till()
                return (await self._sold()).orders == int(till["orders"])
            return False

        return await self._until(is_resting, lambda pace: pace.rest)

    async def count(self, errors: int) -> tuple[Summary, int | None]:
        """Count what was sold, everywhere; return that, and the units of the orders' lines."""
        drift = asyncio.create_task(self._drift())
        book = await _or_none(self._sold())
        units = await _or_none(self.reader.committed_units())
        sandbox = await _or_none(self.reader.sandbox())
        till = await _or_none(self.reader.till())
        summary = Summary(
            orders=book.orders if book else None,
            committed_units=units,
            captured=sandbox["captured"]["count"] if sandbox else None,
            till_orders=till["orders"] if till else None,
            drift=await drift,
            errors=errors,
        )
        return summary, book.units if book else None

    async def _sold(self) -> Sold:
        events: list[dict[str, Any]] = []
        page, cursor = await self.reader.shopfront.orders("")
        while page:
            events += page
            page, cursor = await self.reader.shopfront.orders(cursor)
        return sold(events)

    async def _drift(self) -> int | None:
        """How many quantities the audit names; ``None`` if it does not finish."""
        child = Child(audit(self.site), self.family.group, self.family.logs, piped=True)
        child.start()
        reading = asyncio.create_task(asyncio.to_thread(child.output.read))

        async def is_done() -> bool:
            return reading.done()

        await self._until(is_done, lambda pace: pace.audit)
        child.kill()
        try:
            verdicts = [msgspec.json.decode(line) for line in (await reading).splitlines()]
            found = sum(len(verdict["drift"]) for verdict in verdicts)
        except (msgspec.DecodeError, KeyError, TypeError):
            return None
        return found if verdicts else None

    async def _until(
        self, done: Callable[[], Awaitable[bool]], bound_s: Callable[[Pace], float]
    ) -> bool:
        """Look until it is so, or the time for it is over."""
        began_s = time.monotonic()
        while not await done():
            if time.monotonic() - began_s > bound_s(self.pace):
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True


async def _or_none(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except TROUBLE:
        return None
