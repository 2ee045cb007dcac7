"""The line before a full show, on a real Valkey: who is let in, when, and how many at once.

``HOLDFAST_TEST_GUESTS=20000 pytest tests/integration/test_admission.py -k crowd`` has more come.
"""

import asyncio
import random
from collections.abc import Sequence

import httpx
import msgspec
import pytest

from gateway import admission
from gateway.admission import Admission, Place
from gateway.errors import Overloaded, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, served
from gateway.settings import Settings
from gateway.tickets import TicketExpired
from tests.depth import many
from tests.entrance import SHOW, Entrance
from tests.insist import insist
from tests.integration.conftest import UNLIMITED, Site, open_site
from tests.proxy import open_proxy
from tests.shopper import connected, shopping

GUESTS = many("GUESTS", few=200, deep=2_000)
PLACES = GUESTS // 4


@pytest.fixture
def entrance(settings: Settings, lane: Lane) -> Entrance:
    """The way into a show for three."""
    limited = msgspec.structs.replace(
        settings, show_viewers=3, invitation_s=30, queue_silence_s=30, session_ttl_s=900
    )
    return Entrance(lane, limited)


def for_so_many(entrance: Entrance, viewers: int) -> Entrance:
    settings = msgspec.structs.replace(entrance.settings, show_viewers=viewers)
    return Entrance(entrance.lane, settings)


async def ask(entrance: Entrance, *shoppers: str) -> list[int]:
    """Their places, asked one after the other."""
    return [await entrance.asks(shopper) for shopper in shoppers]


async def ask_at_once(entrance: Entrance, shoppers: Sequence[str], watching: int = 0) -> list[int]:
    """Their places, with hundreds of requests under way, while so many are counted."""
    places = []
    for at in range(0, len(shoppers), 500):
        await entrance.counted(watching)
        batch = shoppers[at : at + 500]
        places += await asyncio.gather(*(entrance.asks(shopper) for shopper in batch))
    return places


async def test_a_crowd_is_let_in_in_order_of_arrival_and_never_more_than_there_are_places(
    entrance: Entrance,
) -> None:
    entrance, dice = for_so_many(entrance, PLACES), random.Random(7)
    arrivals = [f"guest-{number}" for number in range(GUESTS)]
    places = await ask_at_once(entrance, arrivals)
    assert places == [0] * PLACES + list(range(1, GUESTS - PLACES + 1))
    let_in, watching = arrivals[:PLACES], arrivals[:PLACES]
    while len(let_in) < GUESTS:
        await asyncio.gather(*(entrance.comes(shopper) for shopper in watching))
        await entrance.later(4)  # the invitations that were used are over
        leaving = dice.randint(1, len(watching))
        watching = watching[leaving:]
        waiting = arrivals[len(let_in) :]
        asking = dice.sample(waiting, len(waiting))
        answers = await ask_at_once(entrance, asking, len(watching))
        new = {shopper for shopper, place in zip(asking, answers, strict=True) if not place}
        assert len(watching) + len(new) == min(PLACES, len(watching) + len(waiting))
        let_in += waiting[: len(new)]
        assert new == set(let_in[-len(new) :])
        watching += waiting[: len(new)]


async def test_a_door_that_only_looks_at_the_count_would_let_too_many_in(
    entrance: Entrance,
) -> None:
    """What the invitations are for: the count is always a little behind."""

    async def looks() -> bool:
        viewers = await entrance.lane.command("HVALS", entrance.keys.viewers(SHOW))
        return sum(int(one.split()[0]) for one in viewers) < 3

    await entrance.counted(2)
    assert sum(await asyncio.gather(*(looks() for _ in range(20)))) == 20
    places = await asyncio.gather(*(entrance.asks(f"guest-{number}") for number in range(20)))
    assert places.count(0) == 1


async def test_free_places_are_for_the_head_of_the_line_whoever_asks(entrance: Entrance) -> None:
    await entrance.counted(3)
    assert await ask(entrance, "ann", "bob", "cid") == [1, 2, 3]
    await entrance.counted(1)
    assert await ask(entrance, "new", "cid", "bob", "cid", "ann", "cid") == [4, 3, 0, 2, 0, 1]


async def test_asking_again_moves_nobody(entrance: Entrance) -> None:
    await entrance.counted(3)
    assert await ask(entrance, "ann", "bob", "ann", "ann", "bob") == [1, 2, 1, 1, 2]
    await entrance.counted(2)
    assert await ask(entrance, "ann", "bob", "ann", "bob") == [0, 1, 0, 1]
    assert await entrance.in_line() == ["bob"]


async def test_every_process_counts_and_one_that_fell_silent_does_not(entrance: Entrance) -> None:
    await entrance.counted(1, "one")
    await entrance.counted(2, "two")
    assert await entrance.asks("ann") == 1
    viewers = entrance.keys.viewers(SHOW)
    _, at = (await entrance.lane.command("HGET", viewers, "two")).split()
    await entrance.lane.command("HSET", viewers, "two", f"2 {int(at) - 3_100}")
    assert await ask(entrance, "ann", "bob", "cid") == [0, 0, 1]


async def test_who_is_silent_loses_the_place_and_who_asks_in_time_does_not(
    entrance: Entrance,
) -> None:
    await entrance.counted(3)
    await ask(entrance, "ann", "bob", "cid")
    for _ in range(3):
        await entrance.later(10.5)
        await ask(entrance, "bob")
    assert await entrance.asks("bob") == 1
    assert await entrance.in_line() == ["bob"]
    assert await entrance.asks("ann") == 2


async def test_nobody_loses_the_place_by_our_own_absence(entrance: Entrance) -> None:
    await entrance.counted(3)
    await ask(entrance, "ann", "bob", "cid")
    await entrance.later(100)
    assert await ask(entrance, "cid", "bob") == [3, 2]
    await entrance.later(10)
    assert await ask(entrance, "bob", "ann") == [2, 1]
    await entrance.later(14)
    assert await entrance.asks("bob") == 2
    await entrance.later(10)  # they had their time to come again
    assert await ask(entrance, "bob") == [2]
    assert await entrance.in_line() == ["ann", "bob"]


async def test_many_who_fell_silent_are_dropped_a_few_at_a_time(entrance: Entrance) -> None:
    await entrance.counted(3)
    await asyncio.gather(*(entrance.asks(f"gone-{number}") for number in range(250)))
    await entrance.later(14)
    await entrance.asks("ann")
    await entrance.later(14)
    await entrance.asks("ann")
    await entrance.later(14)
    assert await ask(entrance, "ann", "ann", "ann") == [151, 51, 1]


async def test_an_invitation_nobody_takes_lapses(entrance: Entrance) -> None:
    assert await ask(entrance, "ann", "bob", "cid", "dan") == [0, 0, 0, 1]
    await entrance.later(29)
    assert await ask(entrance, "ann", "dan") == [0, 1]
    await entrance.later(2)
    assert await entrance.asks("dan") == 0
    with pytest.raises(TicketExpired, match="kept for a while"):
        await entrance.comes("ann")
    assert await ask(entrance, "eve", "fay", "ann") == [0, 0, 1]


async def test_a_ticket_that_its_shop_has_signed_needs_no_place(entrance: Entrance) -> None:
    await entrance.counted(3)
    await entrance.comes("ann", needs_place=False)
    assert await ask(entrance, "ann", "bob") == [0, 1]


async def test_a_place_is_taken_without_a_hole_until_it_is_counted(entrance: Entrance) -> None:
    await ask(entrance, "ann", "bob", "cid")
    for shopper in ("ann", "bob", "cid"):
        await entrance.comes(shopper)
        await entrance.comes(shopper)
    assert await entrance.asks("dan") == 1
    await entrance.later(2.5)
    assert await entrance.asks("dan") == 1
    await entrance.counted(3)
    await entrance.later(1)
    assert await entrance.asks("dan") == 1
    await entrance.counted(2)
    assert await entrance.asks("dan") == 0


async def test_who_is_in_comes_again_at_once_also_when_it_is_full(entrance: Entrance) -> None:
    await entrance.asks("ann")
    await entrance.comes("ann")
    await entrance.later(600)
    await entrance.counted(3)
    assert await ask(entrance, "bob", "ann") == [1, 0]
    await entrance.comes("ann")
    await entrance.later(900)
    assert await entrance.asks("ann") == 0
    await entrance.stays("ann")
    await entrance.later(1_000)
    assert await entrance.asks("ann") == 0
    await entrance.later(30)  # past the session and the time to come again
    assert await ask(entrance, "bob", "ann") == [1, 2]


async def test_the_line_has_an_end(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MOST_IN_LINE", 2)
    await entrance.counted(3)
    assert await ask(entrance, "ann", "bob") == [1, 2]
    with pytest.raises(Overloaded) as refused:
        await entrance.asks("cid")
    assert isinstance(refused.value.facts["retry_after_ms"], int)
    assert await ask(entrance, "bob", "ann") == [2, 1]
    await entrance.counted(2)
    assert await ask(entrance, "ann", "cid") == [0, 2]


async def test_the_farther_back_the_later_one_asks_again_but_never_too_late(
    entrance: Entrance,
) -> None:
    await entrance.counted(3)

    async def waits(shoppers: int, silence_s: int = 30) -> list[int]:
        settings = msgspec.structs.replace(entrance.settings, queue_silence_s=silence_s)
        other = Admission(entrance.lane, settings, entrance.tokens, random.Random(1))
        asking = (other.ask(settings.shop, SHOW, f"s-{n}") for n in range(shoppers))
        places = await asyncio.gather(*asking)
        return [place.retry_after_ms for place in places if isinstance(place, Place)]

    told = await waits(1_000)
    assert len(set(told)) > 900
    assert 750 <= told[0] <= 1_100
    assert all(7_500 <= wait_ms <= 10_000 for wait_ms in told[450:])
    assert max(told[:50]) < min(told[450:])
    assert all(wait_ms < 1_000 for wait_ms in await waits(1_000, silence_s=1))


async def test_everything_that_is_kept_expires(entrance: Entrance) -> None:
    await entrance.counted(2)
    await entrance.asks("bob")
    await entrance.asks("ann")
    await entrance.later(20)
    await entrance.asks("ann")
    await entrance.asks("bob")
    await entrance.comes("bob")
    for kept in ("line", "heard", "invited", "inside", "patient"):
        left_ms = await entrance.lane.command("PTTL", getattr(entrance.keys, kept)(SHOW))
        assert 0 < left_ms <= 1_020_000, kept


async def test_a_short_invitation_takes_no_place_from_who_is_not_counted_yet(
    entrance: Entrance,
) -> None:
    settings = msgspec.structs.replace(entrance.settings, invitation_s=1)
    entrance = Entrance(entrance.lane, settings)
    await entrance.asks("ann")
    await entrance.comes("ann")
    await entrance.asks("bob")
    left_ms = await entrance.lane.command("PTTL", entrance.keys.invited(SHOW))
    assert left_ms > 2_000


async def test_a_line_that_is_asked_all_the_time_does_not_expire(entrance: Entrance) -> None:
    keys = (entrance.keys.line(SHOW), entrance.keys.heard(SHOW))
    await entrance.counted(3)
    await ask(entrance, "ann", "bob")
    for key in keys:
        await entrance.lane.command("PEXPIRE", key, 60_000)
    await entrance.asks("bob")
    for key in keys:
        assert await entrance.lane.command("PTTL", key) > 100_000


async def test_without_a_limit_no_line_is_asked(settings: Settings, lane: Lane) -> None:
    free = Entrance(lane, settings)
    before = lane.round_trips
    assert await free.asks("ann") == 0
    assert lane.round_trips == before
    await free.comes("ann")
    inside = free.keys.inside(SHOW)
    assert not await lane.command("EXISTS", inside)


async def test_a_lost_reply_gives_nobody_a_second_place(
    entrance: Entrance, settings: Settings
) -> None:
    async with open_proxy(int(settings.redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        shaky = msgspec.structs.replace(entrance.settings, redis_url=proxy.url, redis_attempts=3)
        async with served(shaky) as lane:
            other = Entrance(lane, shaky)
            for shopper, place in (("ann", 0), ("bob", 0), ("cid", 0), ("dan", 1), ("eve", 2)):
                proxy.lose_replies(2)
                assert await other.asks(shopper) == place
            proxy.lose_replies(2)
            await other.comes("ann")
            assert proxy.lost >= 12
    assert await ask(entrance, "dan", "eve") == [1, 2]


async def test_while_redis_is_silent_nobody_is_let_in(
    entrance: Entrance, settings: Settings
) -> None:
    async with open_proxy(int(settings.redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        deaf = msgspec.structs.replace(
            entrance.settings, redis_url=proxy.url, redis_attempts=1, redis_timeout_ms=50
        )
        async with served(deaf) as lane:
            other = Entrance(lane, deaf)
            assert await insist(lambda: other.asks("ann")) == 0
            proxy.stall()
            with pytest.raises(Unavailable):
                await other.asks("bob")
            with pytest.raises(Unavailable):
                await other.comes("ann")
            proxy.heal()


async def let_in(site: Site, client: httpx.AsyncClient, shopper: str) -> str:
    """A ticket, asked for until there is one; sooner than a polite client would."""
    while True:
        answer = await client.post(
            f"{site.url}/v1/tickets", json={"show": SHOW, "shopper": shopper}
        )
        if answer.status_code == httpx.codes.OK:
            token: str = answer.json()["token"]
            return token
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        await asyncio.sleep(0.05)


async def test_two_gateways_together_never_have_more_viewers_than_the_show_takes(
    settings: Settings,
) -> None:
    limited = msgspec.structs.replace(settings, show_viewers=3)
    async with (
        open_site(limited, UNLIMITED) as one,
        open_site(limited, UNLIMITED) as two,
        httpx.AsyncClient() as client,
    ):
        entered: list[str] = []
        most = 0
        full = asyncio.Event()

        async def visits(site: Site, shopper: str) -> None:
            nonlocal most
            token = await let_in(site, client, shopper)
            async with shopping(site.socket_url, token, SHOW):
                entered.append(shopper)
                most = max(most, sum(at.gateway.listener.viewers for at in (one, two)))
                if len(entered) == limited.show_viewers:
                    full.set()
                await full.wait()

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                site = (one, two)[number % 2]
                group.create_task(visits(site, f"guest-{number}"))
        assert len(set(entered)) == 6
        assert most == 3


async def test_at_the_door_of_a_full_show(settings: Settings) -> None:
    limited = msgspec.structs.replace(settings, show_viewers=1)
    async with open_site(limited, UNLIMITED) as site, httpx.AsyncClient() as client:
        token = await let_in(site, client, "ann")
        async with shopping(site.socket_url, token, SHOW) as ann:
            body = {"show": SHOW, "shopper": "bob"}
            assert (await client.post(f"{site.url}/v1/tickets", json=body)).status_code == 202
            renewed = await let_in(site, client, "ann")
            renewed = (await ann.ask("refresh", token=renewed))["token"]
        async with shopping(site.socket_url, renewed, SHOW) as again:
            following = again.welcome["token"]
        await site.rooms.lane.command("DEL", ShopKeys(site.shop).inside(SHOW))
        await site.rooms.lane.command("DEL", ShopKeys(site.shop).invited(SHOW))
        async with connected(site.socket_url) as late:
            error = await late.ask("connect", token=following, show=SHOW)
            assert "Your place was kept for a while" in error["message"]
            assert (error["code"], await late.closed()) == ("unauthenticated", 4001)
        own = site.ticket("cid")  # as the shop itself would sign it
        async with shopping(site.socket_url, own, SHOW):
            pass


async def test_what_shoppers_were_told_is_counted(entrance: Entrance) -> None:
    await ask(entrance, "ann", "bob", "cid", "dan", "dan")
    await entrance.later(31)
    with pytest.raises(TicketExpired):
        await entrance.comes("ann")
    assert entrance.admission.said == {"let_in": 3, "queued": 2, "late": 1}
