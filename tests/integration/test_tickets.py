"""A ticket opens one session, at the door and over real sockets; what it brings is the next one."""

import asyncio
import contextlib
import time
import uuid
from typing import Any

import jwt
import msgspec
import pytest

from gateway.lane import Lane
from gateway.settings import Settings
from gateway.tickets import TicketExpired, mark
from gateway.track import Request, Track
from tests.entrance import Entrance
from tests.integration.conftest import SHOW, Corner, Site
from tests.shopper import refused_at, shopping

of_the_module = pytest.mark.asyncio(loop_scope="module")


def ticket(
    site: Site, shopper: str, expires_in_s: float, show: str = SHOW, **claimed: object
) -> str:
    """A ticket as the shop itself would sign it."""
    claims: dict[str, object] = {
        "sub": shopper,
        "shop": site.shop,
        "show": show,
        "jti": uuid.uuid4().hex[:12],
    }
    claims |= claimed
    secret = site.rooms.tokens.shop_secret(site.shop)
    return jwt.encode(claims | {"exp": int(time.time() + expires_in_s)}, secret, algorithm="HS256")


@pytest.fixture(params=["with a limit", "without a limit"])
def any_entrance(request: pytest.FixtureRequest, settings: Settings, lane: Lane) -> Entrance:
    most = 3 if request.param == "with a limit" else 0
    return Entrance(lane, msgspec.structs.replace(settings, show_viewers=most))


async def test_a_ticket_opens_one_session(any_entrance: Entrance) -> None:
    entrance, used = any_entrance, any_entrance.ticket("ann", needs_place=False)
    await entrance.uses(*used, "one")
    await entrance.uses(*used, "one")  # its reply was lost
    for ticket in (used, (used[0], f"{used[1][:-4]}abcd")):
        with pytest.raises(TicketExpired, match="was used"):
            await entrance.uses(*ticket, "two")
    with pytest.raises(TicketExpired, match="was used"):
        await entrance.admission.stays(*used, "two")
    await entrance.comes("ann", needs_place=False)


async def test_it_is_known_that_a_ticket_was_used_for_as_long_as_it_is_good(
    any_entrance: Entrance,
) -> None:
    ticket, token = any_entrance.ticket("ann", needs_place=False)
    await any_entrance.uses(ticket, token)
    left_ms = await any_entrance.lane.command("PTTL", any_entrance.keys.ticket(mark(token)))
    good_ms = any_entrance.settings.ticket_ttl_s * 1000
    assert good_ms + 30_000 < left_ms < good_ms + 90_000


async def test_of_many_who_come_at_once_with_one_ticket_one_comes_in(
    any_entrance: Entrance,
) -> None:
    ticket = any_entrance.ticket("ann", needs_place=False)

    async def comes() -> bool:
        try:
            await any_entrance.uses(*ticket)
        except TicketExpired:
            return False
        return True

    assert sum(await asyncio.gather(*(comes() for _ in range(100)))) == 1


async def test_who_was_in_comes_again_with_the_token_of_the_session(
    settings: Settings, lane: Lane
) -> None:
    entrance = Entrance(lane, msgspec.structs.replace(settings, show_viewers=1))
    await entrance.asks("ann")
    ticket, token = entrance.ticket("ann")
    await entrance.uses(ticket, token)
    await entrance.later(500)
    await entrance.counted(1)
    assert await entrance.asks("bob") == 1
    after, following = entrance.tokens.sign_next(ticket)[::-1]
    assert after.needs_place
    await entrance.uses(after, following)
    with pytest.raises(TicketExpired):
        await entrance.comes("bob")


@of_the_module
async def test_bad_tickets(corner: Corner) -> None:
    forged = jwt.encode(
        {"sub": "ann", "shop": corner.shop, "show": SHOW, "exp": int(time.time()) + 60},
        "x" * 32,
        algorithm="HS256",
    )
    assert await refused_at(corner.socket_url, forged, SHOW) == ("unauthenticated", 4500)
    assert await refused_at(corner.socket_url, "nonsense", SHOW) == ("unauthenticated", 4500)
    expired = ticket(corner, "ann", -60)
    assert await refused_at(corner.socket_url, expired, SHOW) == ("unauthenticated", 4001)
    elsewhere = ticket(corner, "ann", 60, show="other")
    assert await refused_at(corner.socket_url, elsewhere, SHOW) == ("forbidden", 4500)
    assert await refused_at(corner.socket_url, elsewhere, "other") == ("not_found", 4500)
    key = corner.rooms.tokens.sign_key(corner.shop, ("admin",))
    assert await refused_at(corner.socket_url, key, SHOW) == ("unauthenticated", 4500)


@of_the_module
async def test_a_session_that_runs_out_ends_the_socket_and_a_new_ticket_prolongs_it(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon, clock = int(time.time()) + 30, corner.rooms.clock
    async with (
        shopping(corner.socket_url, ticket(corner, "ann", 60, until=soon), SHOW) as ann,
        shopping(corner.socket_url, ticket(corner, "ann", 60, until=soon), SHOW) as also_ann,
    ):
        assert ann.welcome["token_ttl_s"] <= 30
        other = await also_ann.ask("refresh", token=ticket(corner, "bob", 60))
        assert (other["type"], other["code"]) == ("error", "forbidden")
        stale = await also_ann.ask("refresh", token=ticket(corner, "ann", -60))
        assert stale["code"] == "unauthenticated"
        good = await also_ann.ask("refresh", token=ticket(corner, "ann", 60))
        assert good.keys() == {"type", "id", "token", "token_ttl_s"}
        assert good["type"] == "ok"
        assert 898 <= good["token_ttl_s"] <= 900
        later_ms = clock.now_ms() + 31_000
        with monkeypatch.context() as patch:
            patch.setattr(clock, "now_ms", lambda: later_ms)
            assert await ann.closed() == 4001
        assert (await also_ann.ask("ask", text="Still here?"))["type"] == "ok"


@of_the_module
async def test_a_ticket_is_used_once_and_the_welcome_brings_the_next(corner: Corner) -> None:
    signed_here, signed_there = corner.ticket("ann"), ticket(corner, "bob", 60)
    for token in (signed_here, signed_there):
        async with shopping(corner.socket_url, token, SHOW) as shopper:
            assert await refused_at(corner.socket_url, token, SHOW) == ("unauthenticated", 4001)
            following = shopper.welcome["token"]
        async with shopping(corner.socket_url, following, SHOW) as again:
            assert await refused_at(corner.socket_url, token, SHOW) == ("unauthenticated", 4001)
            assert await refused_at(corner.socket_url, following, SHOW) == ("unauthenticated", 4001)
            assert again.welcome["token"] not in {token, following}


@of_the_module
async def test_a_refresh_uses_its_ticket_up_and_brings_the_next(corner: Corner) -> None:
    async with corner.shopper("ann") as ann, corner.shopper("ann") as other:
        token = ann.welcome["token"]
        following = (await ann.ask("refresh", token=token))["token"]
        again = await ann.ask("refresh", token=token)  # its answer was lost
        assert again["type"] == "ok"
        used = await other.ask("refresh", token=token)
        assert (used["code"], used["message"]) == (
            "unauthenticated",
            "This ticket was used; ask for another.",
        )
        assert await refused_at(corner.socket_url, token, SHOW) == ("unauthenticated", 4001)
        assert (await other.ask("ask", text="Still here?"))["type"] == "ok"
    async with shopping(corner.socket_url, following, SHOW):
        pass


@of_the_module
async def test_who_cannot_be_served_comes_back_with_the_same_ticket(corner: Corner) -> None:
    token, most = corner.ticket("ann"), corner.rooms.settings.sockets_per_shopper
    async with contextlib.AsyncExitStack() as others:
        for _ in range(most):
            await others.enter_async_context(corner.shopper("ann"))
        assert await refused_at(corner.socket_url, token, SHOW) == ("limit_exceeded", 4504)
    async with shopping(corner.socket_url, token, SHOW):
        pass


@of_the_module
async def test_taking_the_ticket_costs_no_round_trip(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[list[str]] = []
    round_trip = Track._round_trip

    async def watched(track: Track, requests: list[Request], *rest: Any) -> list[Request]:
        forgotten = await round_trip(track, requests, *rest)
        # Only those that were answered: what a slow machine makes us ask again is no extra trip.
        trips.append([one.script.name if one.script else str(one.words[0]) for one in requests])
        return forgotten

    async with corner.shopper("first"):  # the shop is known here from now on, and the script there
        monkeypatch.setattr(Track, "_round_trip", watched)
        for number in range(20):
            async with corner.shopper(f"shopper-{number}"):
                pass
    # What else is asked now and then by others is in trips of its own, or in one of these.
    taking = [trip for trip in trips if "ticket_take" in trip]
    assert len(taking) == 20
    assert all("HGETALL" in trip for trip in taking)


@of_the_module
async def test_a_session_cannot_have_tickets_remembered_without_end(corner: Corner) -> None:
    """Each takes memory of Redis until it would have expired, and brings a token of its own."""
    async with corner.shopper("ann") as ann:
        token, ends = ann.welcome["token"], []
        for _ in range(20):
            answer = await ann.ask("refresh", token=token)
            ends.append(answer.get("code", "ok"))
            token = answer.get("token", token)
        assert ends == ["ok"] * 8 + ["rate_limited"] * 12
        assert 100_000 <= answer["retry_after_ms"] <= 900_000 / 8
        assert (await ann.ask("ask", text="Still here?"))["type"] == "ok"
