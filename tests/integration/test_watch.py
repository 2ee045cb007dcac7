"""The watch reconciles again and again, one sweep at a time, and lets go when it is stopped."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio

from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.keys import StripeKeys
from gateway.reconcile.differences import Difference
from gateway.reconcile.reconciler import AUTHORIZATION_LIFE_MS, Reconciler
from gateway.reconcile.watch import Watch
from gateway.scripts import load
from tests.books import Books
from tests.handoff import running
from tests.integration.conftest import Corner
from tests.sales import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_MS = 3_600_000


@dataclass
class Hours(SystemClock):
    """A clock that is told how late it is."""

    ahead_ms: int = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass
class Naps:
    """Sleeps a moment, whatever it is asked for, and says what it was asked for."""

    asked: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="module")
async def books(corner: Corner) -> AsyncIterator[Books]:
    await corner.sells("tee", 20)
    yield Books(corner)


def watch(books: Books, owner: str, clock: SystemClock | None = None) -> Watch:
    settler = replace(books.settler, clock=clock or Hours(ahead_ms=HOUR_MS))
    return Watch(Reconciler(settler), owner, Naps())


async def lease(books: Books) -> bytes | None:
    key = StripeKeys(books.settler.settings.stripe_account).reconciling
    owner: bytes | None = await books.settler.lane.command("GET", key)
    return owner


async def test_it_repairs_what_is_safe_and_gives_the_lease_back(books: Books) -> None:
    intent = await books.authorizes("o_unknown")
    mine = watch(books, "one")

    async def repaired() -> bool:
        return mine.reconciler.found[Difference.AUTHORIZATION_OF_UNKNOWN_ORDER, True] >= 1

    async with running(mine):
        await eventually(repaired)
        assert await lease(books) == b"one"
    assert await lease(books) is None
    assert (await books.read(intent)).status == "canceled"


async def test_one_of_two_looks_and_the_other_takes_over(books: Books) -> None:
    one, two = watch(books, "one"), watch(books, "two")

    async def first_looked() -> bool:
        return one._looked_at_ms is not None

    async def second_looked() -> bool:
        return two._looked_at_ms is not None

    async with running(two), asyncio.timeout(10):
        await eventually(second_looked)
        async with running(one):
            before = two._looked_at_ms

            async def looked_again() -> bool:
                return two._looked_at_ms != before

            await eventually(looked_again)
            assert one._looked_at_ms is None
    async with running(one):
        await eventually(first_looked)


async def test_a_lease_that_is_lost_ends_the_looks(books: Books) -> None:
    mine = watch(books, "one")
    key = StripeKeys(books.settler.settings.stripe_account).reconciling

    async def looked() -> bool:
        return mine._looked_at_ms is not None

    async def stopped() -> bool:
        return mine._looked_at_ms is None

    async with running(mine):
        await eventually(looked)
        await books.settler.lane.command("SET", key, "another", "PX", 60_000)
        await eventually(stopped)
    assert await lease(books) == b"another"
    await books.settler.lane.call(load("lease"), (key,), ("another", 0))


async def test_it_looks_far_back_at_first_and_every_hour(books: Books) -> None:
    clock = Hours()
    mine = watch(books, "one", clock)

    async def reach_h() -> int:
        now_ms = clock.now_ms()
        return round((now_ms - (await mine.look()).since_ms) / HOUR_MS)

    life_h = AUTHORIZATION_LIFE_MS // HOUR_MS
    assert await reach_h() == life_h
    assert await reach_h() == 1
    clock.ahead_ms += HOUR_MS // 2
    assert await reach_h() == 2
    clock.ahead_ms += HOUR_MS
    assert await reach_h() == life_h
    assert await reach_h() == 1


async def test_stripe_that_does_not_answer_costs_one_look(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    mine = watch(books, "one")
    asked = 0
    look = mine.reconciler.look

    class Broken(Reconciler):
        async def look(self, *arguments: object, **_: object) -> object:  # type: ignore[override]
            nonlocal asked
            asked += 1
            if asked == 1:
                raise Unavailable("Stripe is away.")
            return await look(*arguments)  # type: ignore[arg-type]

    mine.reconciler = Broken(mine.reconciler.settler)

    async def looked() -> bool:
        return mine._looked_at_ms is not None

    async with running(mine):
        await eventually(looked)
    assert "Stripe is away." in caplog.text
