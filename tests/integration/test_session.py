"""What a shopper may do: each command's good walk over a real socket, and each of its refusals."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.keys import ShopKeys
from gateway.settings import Settings
from tests.integration.conftest import SHOW, UNLIMITED, Corner, Site, open_site
from tests.shopper import Message, Shopper

pytestmark = pytest.mark.asyncio(loop_scope="module")


def one(sku: str, quantity: int = 1) -> list[Message]:
    return [{"sku": sku, "quantity": quantity}]


@contextlib.asynccontextmanager
async def holding(
    site: Site, sku: str = "tee", units: int = 5
) -> AsyncIterator[tuple[Shopper, Message]]:
    """Ann, with a hold on one unit."""
    await site.sells(sku, units)
    async with site.shopper("ann") as ann:
        yield ann, (await ann.ask("reserve", key="k", lines=one(sku)))["hold"]


async def test_reserve_holds_all_lines(corner: Corner) -> None:
    await corner.sells("tee", 5, price=1500)
    await corner.sells("cap", 5, price=900)
    async with corner.shopper("ann") as ann:
        lines = [*one("tee", 2), *one("cap"), *one("tee")]
        reply = await ann.ask("reserve", key="k", lines=lines)
        assert reply.keys() == {"type", "id", "hold", "version"}
        hold = reply["hold"]
        assert hold.keys() == {"id", "state", "lines", "total", "expires_at", "fulfillment"}
        assert hold["state"] == "active"
        assert hold["total"] == {"amount": 5400, "currency": "EUR"}
        assert hold["fulfillment"]["type"] == "ship"
        assert {(line["sku"], line["quantity"]) for line in hold["lines"]} == {
            ("tee", 3),
            ("cap", 1),
        }
        assert hold["lines"][0]["location"] == "main"
    assert await corner.rooms.movements.available(corner.shop) == {"tee": 2, "cap": 4}


async def test_the_same_reserve_again_is_the_same_hold(corner: Corner) -> None:
    async with holding(corner) as (ann, hold):
        again = await ann.ask("reserve", key="k", lines=one("tee"))
        assert again["hold"] == hold
        other = await ann.ask("reserve", key="k", lines=one("tee", 2))
        assert other["code"] == "idempotency_key_reused"
    assert await corner.rooms.movements.available(corner.shop) == {"tee": 4}


async def test_sold_out_says_of_what_and_what_is_left(corner: Corner) -> None:
    await corner.sells("tee", 5)
    await corner.sells("cap", 1)
    async with corner.shopper("ann") as ann:
        few = await ann.ask("reserve", key="k", lines=[*one("tee"), *one("cap", 2)])
        assert (few["code"], few["sku"], few["available"]) == ("sold_out", "cap", 1)
        await ann.ask("reserve", key="k", lines=one("cap"))
        none = await ann.ask("reserve", key="k2", lines=one("cap"))
        assert (none["code"], none["available"]) == ("sold_out", 0)
    assert await corner.rooms.movements.available(corner.shop) == {"tee": 5, "cap": 0}


async def test_limits(corner: Corner) -> None:
    await corner.sells("tee", 50, limit=2)
    await corner.sells("cap", 50)
    async with corner.shopper("ann") as ann:
        over = await ann.ask("reserve", key="k", lines=one("tee", 3))
        assert (over["code"], over["sku"], over["limit"]) == ("limit_exceeded", "tee", 2)
        for number in range(10):
            held = await ann.ask("reserve", key=f"k{number}", lines=one("cap"))
            assert held["type"] == "hold"
        many = await ann.ask("reserve", key="one-more", lines=one("cap"))
        assert (many["code"], many["limit"]) == ("limit_exceeded", 10)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"lines": one("hat")}, "not_found"),
        ({"fulfillment": {"type": "ship", "location": "main"}}, "invalid"),
        ({"fulfillment": {"type": "pickup", "location": "elsewhere"}}, "sold_out"),
    ],
)
async def test_what_cannot_be_reserved(corner: Corner, fields: Message, code: str) -> None:
    await corner.sells("tee", 5)
    async with corner.shopper("ann") as ann:
        refused = await ann.ask("reserve", **({"key": "k", "lines": one("tee")} | fields))
        assert refused["code"] == code
        assert (await ann.ask("reserve", key="k", lines=one("tee")))["type"] == "hold"


async def test_nothing_is_sold_before_the_show(corner: Corner) -> None:
    await corner.sells("tee", 5)
    shows = ShopKeys(corner.shop).shows
    await corner.rooms.lane.command("HSET", shows, f"{SHOW}:state", "scheduled")
    async with corner.shopper("ann") as ann:
        early = await ann.ask("reserve", key="k", lines=one("tee"))
        assert (early["code"], early["state"]) == ("show_not_live", "scheduled")


async def test_a_hold_may_be_picked_up(corner: Corner) -> None:
    await corner.sells("tee", 5)
    async with corner.shopper("ann") as ann:
        pickup = {"type": "pickup", "location": "main"}
        reply = await ann.ask("reserve", key="k", lines=one("tee"), fulfillment=pickup)
        assert reply["hold"]["fulfillment"] == pickup


async def test_extend_moves_the_deadline(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, hold_ttl_s=60, hold_max_s=600)
    async with open_site(settings, UNLIMITED) as site, holding(site) as (ann, hold):
        longer = await ann.ask("extend", hold=hold["id"])
        assert longer["hold"]["expires_at"] > hold["expires_at"]
        assert longer["hold"] | {"expires_at": ""} == hold | {"expires_at": ""}


async def test_an_expired_hold_is_never_revived(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, hold_ttl_s=1, hold_max_s=1)
    async with open_site(settings, UNLIMITED) as site, holding(site) as (ann, hold):
        sweeping = asyncio.create_task(site.sweep().run())
        try:
            expired = await ann.until(
                lambda push: push["type"] == "hold" and push["hold"]["state"] == "expired"
            )
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
        assert expired["hold"] == hold | {"state": "expired"}
        await ann.hears("stock", items={"tee": 5})
        for command in ("extend", "release"):
            assert (await ann.ask(command, hold=hold["id"]))["code"] == "hold_expired"
        assert (await ann.pays(hold))["code"] == "hold_expired"
        again = await ann.ask("reserve", key="k", lines=one("tee"))
        assert again["hold"]["state"] == "expired"


async def test_release_gives_it_back(corner: Corner) -> None:
    async with holding(corner) as (ann, hold):
        for _ in range(2):
            reply = await ann.ask("release", hold=hold["id"])
            assert reply["hold"] == hold | {"state": "released"}
        assert (await ann.ask("extend", hold=hold["id"]))["code"] == "hold_already_released"
        assert (await ann.pays(hold))["code"] == "hold_already_released"
    assert await corner.rooms.movements.available(corner.shop) == {"tee": 5}


async def test_what_is_sold_stays_sold(corner: Corner) -> None:
    async with holding(corner) as (ann, hold):
        paid = await ann.pays(hold)
        assert paid["state"] == "confirmed"
        for command in ("extend", "release"):
            assert (await ann.ask(command, hold=hold["id"]))["code"] == "hold_already_committed"
        again = await ann.pays(hold)
        assert again | {"id": 0} == paid | {"id": 0}
    assert await corner.rooms.movements.available(corner.shop) == {"tee": 4}


async def test_anothers_hold_does_not_exist(corner: Corner) -> None:
    async with holding(corner) as (ann, hold), corner.shopper("bob") as bob:
        for reply in (
            await bob.ask("extend", hold=hold["id"]),
            await bob.ask("release", hold=hold["id"]),
            await bob.pays(hold),
            await bob.ask("release", hold="h_nonsense"),
        ):
            assert (reply["code"], reply["message"]) == ("not_found", "There is no such hold.")
        assert (await ann.ask("extend", hold=hold["id"]))["hold"]["state"] == "active"


async def test_the_price_is_the_one_of_the_moment_of_reserving(corner: Corner) -> None:
    async with holding(corner) as (ann, hold):
        await corner.sells("tee", 5, price=9900)
        wrong = await ann.ask(
            "checkout", **checkout(hold, total={"amount": 9900, "currency": "EUR"})
        )
        assert wrong["code"] == "total_changed"
        assert wrong["total"] == hold["total"] == {"amount": 1500, "currency": "EUR"}
        wrong = await ann.ask(
            "checkout", **checkout(hold, total={"amount": 1500, "currency": "USD"})
        )
        assert wrong["code"] == "total_changed"
        assert (await ann.pays(hold))["state"] == "confirmed"


def checkout(hold: Message, *, total: Message | None = None, **fields: Any) -> Message:
    return {
        "hold": hold["id"],
        "expected_total": total or hold["total"],
        "payment": {"payment_method": "pm_card_visa"},
        "contact": {"email": "shopper@example.com"},
        **fields,
    }


async def test_a_question_reaches_the_host(corner: Corner) -> None:
    async with corner.shopper("ann") as ann:
        reply = await ann.ask("ask", text="Does it come in blue?")
        assert reply == {"type": "ok", "id": reply["id"]}
        assert (await ann.ask("ask", text="   "))["code"] == "invalid"
    key = ShopKeys(corner.shop).questions(SHOW)
    asked = [json.loads(one) for one in await corner.rooms.lane.command("ZRANGE", key, 0, -1)]
    assert [words[1:] for words in asked] == [["ann", "Does it come in blue?"]]


async def test_so_many_commands_may_await_their_answer(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, commands_in_flight=2, redis_timeout_ms=5_000)
    async with open_site(settings, UNLIMITED) as site, holding(site) as (ann, hold):
        await site.rooms.lane.command("CLIENT", "PAUSE", 300, "ALL")
        for number in (101, 102, 103):
            await ann.socket.send(json.dumps({"type": "extend", "id": number, "hold": hold["id"]}))
        refused = await ann.until(lambda reply: reply.get("id") == 103)
        assert refused["code"] == "rate_limited"
        assert [
            (await ann.until(lambda reply, n=number: reply.get("id") == n))["type"]
            for number in (101, 102)
        ] == ["hold", "hold"]


async def test_all_sockets_of_a_shopper_share_one_allowance(settings: Settings) -> None:
    settings = msgspec.structs.replace(
        settings, commands_per_s=1_000, commands_per_shopper_per_s=2, commands_in_flight=1_000
    )
    async with (
        open_site(settings, UNLIMITED) as site,
        site.shopper("ann") as phone,
        site.shopper("ann") as tablet,
        site.shopper("bob") as bob,
    ):
        began_s = time.monotonic()
        answers = [await at.ask("ask", text="?") for _ in range(25) for at in (phone, tablet)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert {answer["code"] for answer in refused} == {"rate_limited"}
        assert all(0 < answer["retry_after_ms"] <= 1_000 for answer in refused)
        most = 4 + 2 * (time.monotonic() - began_s)
        assert 0 < len(answers) - len(refused) <= most
        assert (await bob.ask("ask", text="?"))["type"] == "ok"
        with contextlib.suppress(ConnectionClosed):
            for number in range(100, 300):
                await phone.socket.send(json.dumps({"type": "ask", "id": number, "text": "?"}))
            await phone.until(lambda _: False)
        assert await phone.closed() == 4029
        assert tablet.socket.close_code is None
