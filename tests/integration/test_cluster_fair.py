"""Everything at once on a real cluster: shops sell, pay and deliver while slots and servers move.

The long version repeats the moves and the kills, here 50 times:

    HOLDFAST_TEST_MIGRATIONS=50 pytest tests/integration/test_cluster_fair.py
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.crc import key_slot

from gateway.__main__ import main
from gateway.keys import SHOPS, StripeKeys
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from tests.cluster import HOST, PRIMARIES, Cluster, slot_of
from tests.depth import deep, many
from tests.fair import LOOK_S, SHOPS_PER_PRIMARY, Fair, fair
from tests.sales import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), deep]

ROUNDS = many("MIGRATIONS", 1, 5)
SOME = 2
"""Purchases in every shop between two events."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(warden: Warden) -> AsyncIterator[Fair]:
    with Cluster(warden) as cluster:
        async with fair(cluster) as market:
            yield market


def shared_by_all(market: Fair) -> set[int]:
    """Servers with keys that are no shop's own: the list of shops, the queue before Stripe."""
    account = StripeKeys(market.site.rooms.settings.stripe_account)
    return {market.cluster.number_of(key_slot(key.encode())) for key in (SHOPS, account.all)}


async def silent(market: Fair) -> list[str]:
    """The servers the gateway misses; it is ready all the same."""
    rooms = market.site.rooms
    key = rooms.tokens.sign_key(rooms.settings.shop, ("admin",))
    headers = {"Authorization": f"Bearer {key}"}
    answer = await market.http.get(f"{market.site.url}/readyz", headers=headers)
    assert answer.status_code == 200
    return list(answer.json().get("silent", ()))


async def test_shops_on_every_primary_sell_and_deliver(market: Fair) -> None:
    async with market.selling():
        await market.sells_on(SOME)
    assert not market.refused
    await market.adds_up()
    # The control: an order that was confirmed and is nowhere is missed.
    lost = next(iter(market.sold.values()))
    lost.append("o_lost")
    with pytest.raises(AssertionError):
        await market.adds_up()
    lost.remove("o_lost")


async def test_slots_move_under_load_and_nothing_is_lost_or_done_twice(market: Fair) -> None:
    cluster = market.cluster
    shops = list(market.shops)[::SHOPS_PER_PRIMARY]
    homes = {shop: cluster.number_of(slot_of(shop)) for shop in shops}
    away = dict(zip(shops, [*homes.values()][1:] + [*homes.values()][:1], strict=True))
    async with market.selling():
        for number in range(ROUNDS):
            await moved(market, away, number)
            await market.sells_on(SOME)
            await moved(market, homes, number + 1)
            await market.sells_on(SOME)
    assert {shop: cluster.number_of(slot_of(shop)) for shop in shops} == homes
    await market.adds_up()


async def moved(market: Fair, goals: dict[str, int], turn: int) -> None:
    """Move shops one after the other, in one of the two ways; the servers do not bear both."""
    way = (market.cluster.moves, market.cluster.moves_at_once)[turn % 2]
    for shop, goal in goals.items():
        await asyncio.to_thread(way, slot_of(shop), goal)


async def test_commands_find_every_shop(
    market: Fair, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A command refuses what it does not know.
    for name in ("HOLDFAST_TEST_MIGRATIONS", "HOLDFAST_TEST_DEEP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(market.site.rooms.settings).items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(main, ["audit", "--json"]) == 0
    audited = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {verdict["shop"] for verdict in audited} >= market.shops.keys()
    assert await asyncio.to_thread(main, ["audit", "--payments", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["intents"] == sum(map(len, market.sold.values()))
    assert await asyncio.to_thread(main, ["relay", "--retry-parked"]) == 0
    assert capsys.readouterr().out.startswith("0 ")


async def test_a_primary_dies_and_only_its_shops_notice(market: Fair) -> None:
    cluster = market.cluster
    async with market.selling():
        for number in range(ROUNDS):
            await market.sells_on(SOME)
            # Others have what all shops need to pay: their fall is for the long version.
            calm = [one for one in cluster.primaries if one not in shared_by_all(market)]
            victim = cluster.primaries[number % PRIMARIES] if number else calm[0]
            its = [one for one in market.shops if cluster.number_of(slot_of(one)) == victim]
            visits = {shop: viewer.visits for shop, viewer in market.viewers.items()}
            market.refused.clear()
            cluster.kills(victim)

            async def missed(victim: int = victim) -> bool:
                return await silent(market) == [f"{HOST}:{cluster.servers[victim].port}"]

            await eventually(missed, every_s=LOOK_S)
            others = market.shops.keys() - its
            if victim in calm:
                await market.sells_on(SOME, others)
            await asyncio.to_thread(cluster.promoted, slot_of(its[0]), victim)
            await asyncio.to_thread(cluster.revives, victim)
            await market.sells_on(SOME)
            assert await silent(market) == []
            if victim in calm:
                assert set(market.refused) == set(its)
            assert {s: market.viewers[s].visits for s in others} == {s: visits[s] for s in others}
    await market.adds_up()


def environment(settings: Settings) -> dict[str, str]:
    """What a command is told that works for this gateway."""
    return {
        "REDIS_URL": settings.redis_url,
        "STRIPE_API_KEY": settings.stripe_api_key,
        "HOLDFAST_STRIPE_URL": settings.stripe_url or "",
        "HOLDFAST_SECRET": settings.secret,
    }
