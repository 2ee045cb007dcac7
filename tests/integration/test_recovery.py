"""A server that may have lost writes serves nobody until what was sold is written again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.errors import Frozen, Paused, Unavailable
from gateway.keys import SHOPS, ShopKeys
from gateway.model import Fulfillment, LineRequest, Show
from gateway.news import News, publish
from gateway.recovery.recovery import Recovery
from gateway.rooms import Rooms
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.sockets.feed import Feed
from gateway.stock.audit import audit
from gateway.stock.holds import Holds
from gateway.stock.lost import bring_back
from gateway.stock.standing import Position, State, freeze, stand, thaw
from gateway.stock.sweeper import expire_due
from tests.bank import Bank
from tests.integration.conftest import SHOW, UNLIMITED, Corner, open_site
from tests.purchase import Purchase
from tests.sales import eventually
from tests.stall import settings_for

TEE = (LineRequest("tee", 1),)


@pytest.fixture
def server(warden: Warden, tmp_path: Path) -> EmbeddedValkey:
    """A Valkey that may come to harm; started by ``opened``."""
    return EmbeddedValkey(warden.group, port=0, data_dir=tmp_path, appendfsync="always")


@contextlib.asynccontextmanager
async def opened(
    server: EmbeddedValkey, shop: str, **changes: int | str
) -> AsyncIterator[Purchase]:
    with server:
        settings = settings_for(server.url, shop, **changes)
        async with open_site(settings, UNLIMITED) as site:
            corner = Corner(site.url, site.gateway, site.stripe_url, site.server, shop)
            yield Purchase(corner, Bank(site.stripe_url))


async def forgets(purchase: Purchase) -> None:
    """The server loses everything it has."""
    await purchase.rooms.lane.command("FLUSHALL", at=ShopKeys(purchase.shop).meta)


async def served(rooms: Rooms, shop: str) -> bool:
    return (await stand(rooms.lane, shop)).state is State.SERVING


async def another_sells(purchase: Purchase, shopper: str = "bob") -> None:
    await purchase.rooms.holds.reserve(purchase.shop, shopper, SHOW, "k", TEE, Fulfillment())


async def test_a_new_shop_is_served(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        standing = await stand(purchase.rooms.lane, shop)
        assert (standing.state, standing.position.epoch) == (State.SERVING, 1)
        nobody = await stand(purchase.rooms.lane, "nobody")
        assert nobody.state is State.NEW


async def test_after_a_restart_nothing_is_promised(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        server.stop()
        server.start()
        await purchase.deadline_passes()
        with pytest.raises(Frozen):
            await another_sells(purchase)
        with pytest.raises(Frozen):
            await purchase.begins()
        with pytest.raises(Frozen):
            await expire_due(rooms.lane, rooms.settings, shop)
        with pytest.raises(Frozen):
            await rooms.holds.release(shop, "ann", purchase.hold)
        assert await purchase.left() == 4
        before = await stand(rooms.lane, shop)
        await rooms.recovery.served(shop)
        after = await stand(rooms.lane, shop)
        assert (before.state, after.state) == (State.FROZEN, State.SERVING)
        assert before.position.lacks(after.position)
        await another_sells(purchase)


async def test_what_was_captured_is_not_sold_again(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves(of=1)
        assert await purchase.pays() == "confirmed"
        seen = (await stand(rooms.lane, shop)).position
        await forgets(purchase)
        await rooms.recovery.look(shop, seen)
        await rooms.recovery.served(shop)
        record = await purchase.record()
        assert (record.phase, record.units) == (Phase.CAPTURED, (("tee", "main", 1, 1),))
        assert record.lines[0].unit_price.amount == 1500
        # The shop says again what it has; the unit that is sold is among them.
        await rooms.shows.put(shop, Show(SHOW, "Tonight's show"))
        await rooms.shows.move(shop, SHOW, "live")
        await purchase.corner.sells("tee", 1)
        assert await purchase.left() == 0
        assert (await audit(rooms.lane, shop)).drift == ()
        assert shop.encode() in await rooms.lane.command("SMEMBERS", SHOPS)
        assert [status for status, _ in await purchase.charged()] == ["succeeded"]


async def test_rebuilding_twice_is_rebuilding_once(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        await purchase.pays()
        await forgets(purchase)
        assert await freeze(rooms.lane, shop)
        rebuilder = rooms.recovery.rebuilder
        first = await rebuilder.rebuild(shop, 0)
        again = await rebuilder.rebuild(shop, 0)
        assert (first.known, first.missing) == (1, (purchase.order,))
        assert (again.known, again.missing) == (1, ())
        assert (await audit(rooms.lane, shop)).committed_units == 1


async def test_a_sale_is_written_over_its_hold(server: EmbeddedValkey, shop: str) -> None:
    """The disk of before the payment: the hold is active there, and its money is captured."""
    async with opened(server, shop) as purchase:
        rooms, keys = purchase.rooms, ShopKeys(shop)
        await purchase.reserves()
        disk = await copied(purchase)
        await purchase.pays()
        await brought_back(purchase, disk)
        await rooms.recovery.look(shop, Position(1, 99))
        await rooms.recovery.served(shop)
        assert (await purchase.record()).phase is Phase.CAPTURED
        assert await rooms.lane.command("ZCARD", keys.deadlines) == 0
        (hold,) = await rooms.holds.of(shop, (purchase.hold,))
        assert hold.state == "committed"
        verdict = await audit(rooms.lane, shop)
        assert (verdict.drift, verdict.committed_units, verdict.active_holds) == ((), 1, 0)


async def test_a_unit_sold_twice_is_charged_once_and_the_first_sale_comes_back(
    server: EmbeddedValkey, shop: str, tmp_path: Path
) -> None:
    """The server has gone back in time, and nobody has noticed."""
    async with opened(server, shop, claims_url=f"sqlite://{tmp_path}/claims") as ann:
        rooms = ann.rooms
        await ann.reserves(of=3)
        disk = await copied(ann)
        assert await ann.pays() == "confirmed"
        await brought_back(ann, disk)
        await rooms.holds.release(shop, "ann", ann.hold)
        bob = Purchase(ann.corner, ann.bank)
        held = await rooms.holds.reserve(shop, "ann", SHOW, "again", TEE, Fulfillment())
        bob.hold = held.hold.id
        assert await bob.pays() == "declined"
        record = await bob.record()
        assert (record.phase, record.reason) == (Phase.FAILED, "sold_twice")
        assert [status for status, _ in await bob.charged()] == ["canceled"]
        await rooms.recovery.look(shop)
        await rooms.recovery.served(shop)
        await rooms.settler.settle(shop, ann.order)
        assert (await ann.record()).phase is Phase.CAPTURED
        assert [status for status, _ in await ann.charged()] == ["succeeded"]
        assert await ann.left() == 2
        verdict = await audit(rooms.lane, shop)
        assert (verdict.drift, verdict.committed_units) == ((), 1)


async def copied(purchase: Purchase) -> dict[bytes, bytes]:
    """What the server has, as a copy of its disk would."""
    lane = purchase.rooms.lane
    names = await lane.command("KEYS", "*", at=ShopKeys(purchase.shop).meta)
    return {name: await lane.command("DUMP", name) for name in names}


async def brought_back(purchase: Purchase, disk: dict[bytes, bytes]) -> None:
    """The server has what was copied, and nothing else."""
    await forgets(purchase)
    for name, dump in disk.items():
        await purchase.rooms.lane.command("RESTORE", name, 0, dump)


async def test_shoppers_have_their_holds_again(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        site, keys = purchase.corner, ShopKeys(shop)
        await site.sells("tee", 1)
        async with site.shopper("ann") as ann:
            reply = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
            hold = reply["hold"]["id"]
            lost = (keys.hold(hold), keys.shopper("ann"), keys.deadlines)
            # The server was promoted just before it got the hold.
            async with site.shopper("bob") as bob:
                await site.rooms.lane.command("DEL", *lost)
                await put_back(site.rooms, shop)
                await site.rooms.lane.command("HSET", keys.meta, "server", "the one before")
                refused = await bob.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
            assert refused["type"] == "error"
            assert await ann.closed() == 4009
        async with site.shopper("ann") as ann:
            assert [one["id"] for one in ann.welcome["holds"]] == [hold]
            again = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
            assert again["hold"]["id"] == hold
        assert (await audit(site.rooms.lane, shop)).drift == ()


async def test_who_reserves_meanwhile_hears_the_answer(
    server: EmbeddedValkey, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The new epoch sends everybody away, soon after that.
    monkeypatch.setattr(Feed, "_start_over", lambda _: None)
    async with opened(server, shop) as purchase:
        site = purchase.corner
        await site.sells("tee", 1)
        async with site.shopper("ann") as ann:
            assert await freeze(site.rooms.lane, shop)
            reply = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
            assert (reply["type"], reply["hold"]["state"]) == ("hold", "active")
            assert await served(site.rooms, shop)


async def test_a_hold_whose_unit_is_gone_is_told_in_a_word(
    server: EmbeddedValkey, shop: str
) -> None:
    async with opened(server, shop) as purchase:
        site, keys = purchase.corner, ShopKeys(shop)
        await site.sells("tee", 1)
        async with site.shopper("ann") as ann:
            lines = [{"sku": "tee", "quantity": 1}]
            hold = (await ann.ask("reserve", key="k", lines=lines))["hold"]["id"]
            # The new primary has not heard of ann's hold, and of a walk-in sale instead.
            await site.rooms.lane.command("DEL", keys.hold(hold))
            await site.rooms.lane.command("HSET", keys.meta, "server", "the one before")
            told = await ann.hears("hold", reason="lost")
            assert (told["hold"]["id"], told["hold"]["state"]) == (hold, "released")
            assert await ann.closed() == 4009


async def test_viewers_are_sent_away_although_what_they_hold_could_not_be_brought_back_at_once(
    server: EmbeddedValkey, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def fail_once(*args: Any) -> Any:
        if failed.is_set():
            return await bring_back(*args)
        failed.set()
        raise Unavailable("Not now.")

    monkeypatch.setattr("gateway.sockets.feed.bring_back", fail_once)
    async with opened(server, shop) as purchase:
        site, lane = purchase.corner, purchase.rooms.lane
        await site.sells("tee", 3)
        async with site.shopper("ann") as ann:
            await lane.command("HSET", ShopKeys(shop).meta, "epoch", 2, "version", 9)
            await publish(lane, shop, News(epoch=2, version=9, stock={"tee": 2}))
            assert await ann.closed() == 4009
            assert failed.is_set()


async def put_back(rooms: Rooms, shop: str) -> None:
    """Undo in stock and ledger what the lost hold has taken."""
    keys = ShopKeys(shop)
    entries = await rooms.lane.command("XRANGE", keys.ledger, "-", "+")
    await rooms.lane.command("XDEL", keys.ledger, entries[-1][0])
    await audit(rooms.lane, shop, repair=True)


async def test_one_recovers_and_all_others_wait_for_it(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        assert await freeze(rooms.lane, shop)
        mine = rooms.recovery
        theirs = Recovery(rooms.lane, mine.rebuilder, rooms.clock, owner="another")
        try:
            await asyncio.gather(mine.served(shop), theirs.served(shop))
        finally:
            await theirs.aclose()
        assert mine.done["thawed"] + theirs.done["thawed"] == 1


async def test_whoever_has_lost_the_lease_does_not_thaw(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        lane = purchase.rooms.lane
        await purchase.reserves()
        assert await freeze(lane, shop)
        assert await thaw(lane, shop, "nobody", await stand(lane, shop)) is None
        assert not await served(purchase.rooms, shop)


async def test_a_shop_stays_frozen_while_nobody_knows_what_is_sold(
    server: EmbeddedValkey, shop: str
) -> None:
    async with opened(server, shop, stripe_timeout_ms=200) as purchase:
        rooms, bank = purchase.rooms, purchase.bank
        await purchase.reserves()
        await bank.fails(down=True)
        assert await freeze(rooms.lane, shop)
        await rooms.recovery.look(shop)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await rooms.recovery.served(shop)
        assert not await served(rooms, shop)
        await bank.fails()
        await eventually(lambda: served(rooms, shop), 20)


async def test_without_its_replicas_nothing_is_sold(server: EmbeddedValkey, shop: str) -> None:
    async with opened(server, shop) as purchase:
        await purchase.reserves()
        settings = msgspec.structs.replace(purchase.rooms.settings, wait_replicas=1)
        holds = Holds(purchase.rooms.lane, settings)
        with pytest.raises(Paused):
            await holds.reserve(shop, "bob", SHOW, "k", TEE, Fulfillment())
        again = await holds.reserve(shop, "ann", SHOW, "k", TEE, Fulfillment())
        assert again.hold.id == purchase.hold, "what is held stays held"


@pytest.mark.parametrize(
    ("seen", "frozen"),
    [
        (Position(1, 1), False),
        (Position(1, 99), True),
        (Position(2, 0), True),
        (Position(1, 1, "another day"), True),
        (Position(0, 99, "another day"), False),
    ],
)
async def test_a_server_that_knows_less_is_stopped(
    server: EmbeddedValkey, shop: str, seen: Position, *, frozen: bool
) -> None:
    async with opened(server, shop) as purchase:
        await purchase.reserves()
        assert await freeze(purchase.rooms.lane, shop, seen) is frozen
        standing = await stand(purchase.rooms.lane, shop)
        assert (standing.state is State.FROZEN) is frozen
