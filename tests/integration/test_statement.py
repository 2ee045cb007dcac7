"""Stripe's side of the books, page by page through the real SDK."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.checkout.payment import Payments
from gateway.checkout.provider import NotPossible
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.lane import served
from gateway.reconcile.differences import Charge
from gateway.reconcile.statement import PAGE, Page, Statement
from gateway.sandbox.stripe import server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.settings import Settings
from tests.bank import Bank
from tests.stripe_seed import seed

LIST = "GET /v1/payment_intents"
MINUTE_MS = 60_000


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Two pages and a half of authorizations, every tenth of another environment."""
    return seed(
        str(tmp_path / "money.db"),
        250,
        lambda n: (
            {"env": "main" if n % 10 else "other", "shop": "s", "order": f"o{n}"} | {"attempt": "1"}
        ),
    )


@pytest.fixture
async def statement(
    settings: Settings, tmp_path: Path, ids: list[str]
) -> AsyncIterator[tuple[Statement, Bank]]:
    plan = StripeSettings(data=str(tmp_path / "money.db"), per_endpoint=0, per_account=0)
    async with server.serving(plan) as url:
        settings = msgspec.structs.replace(settings, stripe_url=url, stripe_rate_per_s=1000)
        async with served(settings) as lane:
            payments = Payments(settings, lane, SystemClock())
            yield Statement(payments.provider, "main"), Bank(url)
            await payments.aclose()


async def pages(statement: Statement, since_ms: int = 0) -> list[Page]:
    async with contextlib.aclosing(statement.pages(since_ms)) as reading:
        return [page async for page in reading]


async def test_every_intent_comes_once_newest_first(
    statement: tuple[Statement, Bank], ids: list[str]
) -> None:
    read = await pages(statement[0])
    assert [page.listed for page in read] == [PAGE, PAGE, 50]
    ours = [one for number, one in enumerate(ids) if number % 10]
    assert [charge.id for page in read for charge in page.charges] == ours[::-1]


async def test_an_intent_has_what_is_compared(
    statement: tuple[Statement, Bank], ids: list[str]
) -> None:
    listed = (await pages(statement[0]))[0].charges[0]
    assert await statement[0].read(ids[-1]) == listed
    created_at = listed.created_at
    assert abs(created_at - SystemClock().now_ms()) < MINUTE_MS
    assert listed == Charge(ids[-1], "requires_capture", "USD", 0, 0, created_at, "s", "o249", 1)


async def test_what_is_older_is_not_listed(statement: tuple[Statement, Bank]) -> None:
    read = await pages(statement[0], SystemClock().now_ms() + MINUTE_MS)
    assert read == [Page(0, ())]


async def test_what_is_not_ours_or_not_there_is_none(
    statement: tuple[Statement, Bank], ids: list[str]
) -> None:
    assert await statement[0].read(ids[0]) is None
    assert await statement[0].read("pi_nobody_knows") is None


async def test_cancelling_twice_is_refused_by_a_code(
    statement: tuple[Statement, Bank], ids: list[str]
) -> None:
    charge = await statement[0].read(ids[1])
    assert charge
    await statement[0].cancel(charge)
    await statement[0].cancel(charge)  # the same key: the same answer
    cancelled = await statement[0].read(ids[1])
    assert cancelled
    assert cancelled.status == "canceled"
    with pytest.raises(NotPossible):
        await statement[0].give_back(charge)


async def test_a_page_survives_one_500_but_not_three(statement: tuple[Statement, Bank]) -> None:
    reader, bank = statement
    await bank.fails(error_500_percent=100, times=2, endpoint=LIST)
    assert sum(page.listed for page in await pages(reader)) == 250
    await bank.fails(error_500_percent=100, times=3, endpoint=LIST)
    with pytest.raises(Unavailable):
        await pages(reader)
    await bank.fails()


async def test_who_stops_reading_leaves_nothing_behind(statement: tuple[Statement, Bank]) -> None:
    async with contextlib.aclosing(statement[0].pages(0)) as reading:
        async for page in reading:
            assert page.listed == PAGE
            break
