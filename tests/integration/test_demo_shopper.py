"""Shoppers of the demo's crowd, at a real gateway."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.demo import shopper as shoppers
from gateway.demo.counts import Counts
from gateway.demo.entrance import Entrance
from gateway.demo.shopper import Shopper, Unexpected
from gateway.demo.temper import GOOD_CARD, SECOND_STEP_CARD, Plan, Temper
from tests.integration.conftest import SHOW, Site

PATIENCE_S = 20.0


class Buyer(Temper):
    """Pays for everything, and never rests."""

    def plan(self) -> Plan:
        return Plan.PAY

    def hesitate_s(self) -> float:
        return 0.01

    def rest_s(self) -> float:
        return 0.01


@pytest.fixture
async def entrance(site: Site) -> AsyncIterator[Entrance]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Entrance(client, site.url, SHOW, site.stripe_url)


@contextlib.asynccontextmanager
async def somebody(entrance: Entrance, name: str = "anna") -> AsyncIterator[Shopper]:
    shopper = Shopper(name, Temper(random.Random(3)), entrance, Counts(), asyncio.Event())
    try:
        yield shopper
    finally:
        await shopper._leave()


async def test_after_a_lost_socket_the_same_wish_gets_the_same_hold(
    site: Site, entrance: Entrance
) -> None:
    await site.sells("lamp", 5)
    async with somebody(entrance) as shopper:
        first = await shopper._reserve((("lamp", 1),))
        assert first is not None
        visit = await shopper._connected()
        visit.socket.transport.abort()
        shopper._wishes -= 1
        again = await shopper._reserve((("lamp", 1),))
        assert again is not None
        assert again["id"] == first["id"]
    assert shopper.counts.retries + shopper.counts.reconnects >= 1
    assert shopper.counts.here == 0


async def test_a_declined_card_is_followed_by_another(site: Site, entrance: Entrance) -> None:
    await site.sells("lamp", 5)
    async with somebody(entrance) as shopper, asyncio.timeout(PATIENCE_S):
        hold = await shopper._reserve((("lamp", 1),))
        assert hold is not None
        await shopper._pay(hold, "pm_card_visa_chargeDeclined", GOOD_CARD)
        assert (shopper.counts.declined, shopper.counts.bought) == (1, 1)


@pytest.mark.parametrize("says_yes", [True, False])
async def test_the_bank_is_answered(
    site: Site, entrance: Entrance, monkeypatch: pytest.MonkeyPatch, *, says_yes: bool
) -> None:
    # This site's sandbox tells nobody, so that asking again must find out.
    monkeypatch.setattr(shoppers, "_PUSH_WITHIN_S", 0.1)
    await site.sells("lamp", 5)
    async with somebody(entrance) as shopper, asyncio.timeout(PATIENCE_S):
        hold = await shopper._reserve((("lamp", 1),))
        assert hold is not None
        outcome = await shopper._checkout(hold, SECOND_STEP_CARD, says_yes=says_yes)
    assert outcome["state"] == ("confirmed" if says_yes else "declined")
    assert shopper.counts.second_steps == 1


async def test_being_too_late_is_no_error_and_is_remembered(site: Site, entrance: Entrance) -> None:
    await site.sells("lamp", 1)
    async with somebody(entrance) as shopper, somebody(entrance, "berta") as other:
        assert await shopper._reserve((("lamp", 1),))
        assert await other._reserve((("lamp", 1),)) is None
        assert (await other._connected()).shelf.items["lamp"] == 0


async def test_an_answer_nobody_should_get_is_named(site: Site, entrance: Entrance) -> None:
    await site.sells("lamp", 1)
    async with somebody(entrance) as shopper:
        with pytest.raises(Unexpected, match="reserve: not_found"):
            await shopper._reserve((("no-such-thing", 1),))


async def test_a_small_crowd_sells_everything_out_and_goes(
    site: Site, entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shoppers, "_PATIENCE_S", 1.0)
    await site.sells("lamp", 6)
    await site.sells("board", 4)
    counts = Counts()
    crowd = [
        Shopper(f"s{seed}", Buyer(random.Random(seed)), entrance, counts, asyncio.Event())
        for seed in range(8)
    ]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(shopper.run() for shopper in crowd))
    assert counts.unexpected == {}
    assert counts.here == 0
    assert counts.held == counts.bought > 0
    lines = await site.rooms.movements.lines(site.shop)
    assert [(line.available, line.held) for line in lines] == [(0, 0), (0, 0)]


async def test_a_shopper_told_to_go_gives_back_what_is_not_being_paid_for(
    site: Site, entrance: Entrance
) -> None:
    await site.sells("lamp", 5)
    stopping = asyncio.Event()
    shopper = Shopper("anna", Temper(random.Random(3)), entrance, Counts(), stopping)
    shopping = asyncio.create_task(shopper.run())
    async with asyncio.timeout(PATIENCE_S):
        while not shopper.counts.held:
            await asyncio.sleep(0.001)
        stopping.set()
        await shopping
    assert shopper.counts.unexpected == {}
    (line,) = await site.rooms.movements.lines(site.shop)
    assert line.held == 0
