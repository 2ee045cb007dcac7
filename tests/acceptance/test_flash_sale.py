"""Five hundred want fifty units, everything goes wrong at once, and everything adds up."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.checkout.turns import Endpoint, Turns
from gateway.sandbox.warden import Warden
from tests.acceptance.buyer import Buyer
from tests.acceptance.market import Market, open_market
from tests.depth import only_deep
from tests.sales import eventually

SHOPPERS, UNITS, RATE_PER_S = 500, 50, 25
AHEAD = 100
"""Requests another shop of the same account wants to make first: a queue longer than a hold."""
WAVE = 50
PATIENCE_S = 40


@pytest.fixture
async def market(redis_url: str, warden: Warden) -> AsyncIterator[Market]:
    pace = {"hold_ttl_s": 5, "payment_budget_s": 20, "settle_interval_s": 2}
    async with open_market(redis_url, warden, RATE_PER_S, **pace) as market:
        await market.opens("tee", UNITS)
        yield market


@contextlib.asynccontextmanager
async def crowd(market: Market, count: int, doors: asyncio.Event) -> AsyncIterator[list[Buyer]]:
    """Shoppers, at one gateway or the other in turn; the doors are still closed."""
    sockets = market.sockets
    buyers = [Buyer(market, f"s{n}", sockets[n % 2]) for n in range(count)]
    tasks = []
    try:
        for first in range(0, count, WAVE):
            wave = buyers[first : first + WAVE]
            tasks += [asyncio.create_task(buyer.visit(doors)) for buyer in wave]
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(buyer.is_in.wait() for buyer in wave))
        yield buyers
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}, ends


async def kill_in_the_middle(market: Market, buyers: list[Buyer]) -> int:
    """Kill the busier gateway once the first have paid; return its payments under way."""

    async def first_have_paid() -> bool:
        return sum(buyer.outcome is not None for buyer in buyers) >= SHOPPERS - UNITS + 6

    await eventually(first_have_paid, PATIENCE_S)
    under_way = {socket: await market.running(socket) for socket in market.sockets}
    victim = max(market.sockets, key=lambda socket: under_way[socket])
    await market.dies(victim)
    return under_way[victim]


@only_deep
async def test_fifty_are_sold_and_everybody_hears_what_became_of_them(market: Market) -> None:
    await market.bank.fails(
        lose_reply_percent=5,
        webhooks={"duplicate_percent": 100, "shuffle": True},
    )
    doors = asyncio.Event()
    async with crowd(market, SHOPPERS, doors) as buyers:
        turns = Turns(market.lane, market.settings)
        ahead = [asyncio.create_task(turns.take(Endpoint.CREATE)) for _ in range(AHEAD)]
        doors.set()
        assert await kill_in_the_middle(market, buyers) >= 8
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(buyer.done.wait() for buyer in buyers))
        await asyncio.gather(*ahead)
    told = Counter(_word(buyer) for buyer in buyers)
    assert told == {"confirmed": UNITS, "sold_out": SHOPPERS - UNITS}
    assert {len(buyer.answers) for buyer in buyers} == {1}
    assert sum(buyer.came_back > 0 for buyer in buyers) == SHOPPERS // 2
    await everything_adds_up(market)
    assert any(moved_on(buyer) for buyer in buyers), "nobody was told how the queue went on"


def _word(buyer: Buyer) -> str:
    outcome = buyer.outcome or {}
    return str(outcome.get("code") or outcome.get("state"))


def moved_on(buyer: Buyer) -> bool:
    """Whether a shopper was told of places that went down."""
    positions = [position for position, _ in buyer.places]
    seconds = [eta_s for _, eta_s in buyer.places]
    down = sorted(positions, reverse=True) == positions and sorted(seconds, reverse=True) == seconds
    return down and len(set(positions)) > 1 and len(set(seconds)) > 1


async def everything_adds_up(market: Market) -> None:
    """The books, Stripe and the till say the same."""

    async def delivered() -> bool:
        return await market.at_rest() and await market.till_orders() >= UNITS

    await eventually(delivered, PATIENCE_S)
    await market.bank.fails()  # Whoever checks is told everything.
    verdict, statuses = await market.audit(), await market.bank.statuses(market.shop)
    assert verdict.drift == ()
    assert verdict.committed_units == UNITS
    assert statuses["succeeded"] == UNITS
    assert statuses["requires_capture"] == statuses["requires_action"] == 0
    assert await market.till_orders() == UNITS
