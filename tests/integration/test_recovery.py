"""A server that may have lost writes serves nobody until what was sold is written again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.checkout.capture import Sold
from gateway.checkout.phases import Phase
from gateway.checkout.refund import RefundRequest
from gateway.checkout.settle import _patient
from gateway.claims.sale import Sale
from gateway.errors import Frozen, NotFound, Paused, Unavailable
from gateway.keys import SHOPS, ShopKeys
from gateway.model import Fulfillment, LineRequest, Show
from gateway.recovery.recovery import Recovery
from gateway.rooms import Rooms
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.stock.audit import audit
from gateway.stock.holds import Holds
from gateway.stock.lost import Known, bring_back
from gateway.stock.standing import Position, State, freeze, stand, thaw
from gateway.stock.sweeper import expire_due
from tests.bank import CAPTURE, Bank
from tests.integration.conftest import SHOW, UNLIMITED, Corner, open_site
from tests.purchase import Purchase
from tests.sales import eventually
from tests.stall import moved, settings_for

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
        assert after.position > before.position
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


async def test_the_catalogue_can_be_imported_again_when_all_is_lost(
    server: EmbeddedValkey, shop: str
) -> None:
    """What was sold of a product is there first, and its stock only then."""
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        await purchase.pays()
        await forgets(purchase)
        assert await freeze(rooms.lane, shop)
        await rooms.recovery.served(shop)
        for reference in ("import-1", "import-2"):
            stock = moved(reference, "tee", 3)
            await rooms.movements.apply(shop, (stock,), initial=True)
        assert await purchase.left() == 2
        assert (await audit(rooms.lane, shop)).drift == ()


async def test_what_was_given_back_is_no_sale(server: EmbeddedValkey, shop: str) -> None:
    """Captured and forgotten; and before anybody noticed that, its hold had lapsed."""
    async with opened(server, shop) as purchase:
        rooms, keys = purchase.rooms, ShopKeys(shop)
        await purchase.reserves()
        await purchase.pays()
        (intent,) = await purchase.bank.intents(purchase.order)
        voided = ("phase", "voided", "given_back", intent["id"])
        await rooms.lane.command("HSET", keys.order(purchase.order), *voided)
        assert (await rooms.recovery.rebuilder.would(shop, 0)).missing == ()
        assert await freeze(rooms.lane, shop)
        (sold,) = await rooms.recovery.rebuilder.books.sold(shop, 0)
        assert not await rooms.recovery.rebuilder.restore(shop, sold)


async def test_what_is_done_in_a_frozen_shop_does_not_hide_since_when_sales_are_missing(
    server: EmbeddedValkey, shop: str
) -> None:
    """A disk of an hour ago; and a recovery that was cut off may have written some sales again."""
    async with opened(server, shop) as purchase:
        rooms, keys = purchase.rooms, ShopKeys(shop)
        await purchase.reserves("sold")
        await purchase.pays()
        (sold,) = await rooms.recovery.rebuilder.books.sold(shop, 0)
        held = await rooms.holds.reserve(shop, "ann", SHOW, "lost", TEE, Fulfillment())
        await rooms.lane.command("DEL", keys.order(purchase.order), keys.hold(held.hold.id))
        await purchase.reserves("extended")
        hour_ago = rooms.clock.now_ms() - 3_600_000
        await rooms.lane.command("HSET", keys.meta, "clock", hour_ago, "server", "the one before")
        await purchase.walk_in(-1)
        await rooms.holds.extend(shop, "ann", purchase.hold)
        assert not await bring_back(
            rooms.lane, rooms.settings, shop, [Known("ann", SHOW, held.hold)]
        )
        assert await rooms.recovery.rebuilder.restore(shop, sold)
        with contextlib.suppress(NotFound):  # It is begun, and has no event to be told by.
            await rooms.refunds.begin(shop, sold.order, "k", RefundRequest())
        assert (await stand(rooms.lane, shop)).clock == hour_ago


async def test_who_went_on_after_a_loss_does_not_know_since_when_sales_are_missing(
    server: EmbeddedValkey, shop: str
) -> None:
    """The till was faster than anybody who could notice that everything is lost."""
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        seen = (await stand(rooms.lane, shop)).position
        await forgets(purchase)
        await purchase.walk_in(-1)
        assert (await stand(rooms.lane, shop)).clock > 0
        assert await freeze(rooms.lane, shop, seen)
        assert (await stand(rooms.lane, shop)).clock == 0
        await rooms.recovery.served(shop)
        assert (await stand(rooms.lane, shop)).clock > 0


async def test_who_was_promoted_knows_since_when_sales_are_missing(
    server: EmbeddedValkey, shop: str
) -> None:
    async with opened(server, shop) as purchase:
        lane = purchase.rooms.lane
        await purchase.reserves()
        server.stop()
        server.start()
        before = await stand(lane, shop)
        assert await freeze(lane, shop, Position(1, 99))
        assert (await stand(lane, shop)).clock == before.clock > 0


async def test_an_order_whose_time_is_over_is_not_missing(
    server: EmbeddedValkey, shop: str, tmp_path: Path
) -> None:
    """The claims are kept for ever, the orders are not."""
    async with opened(server, shop, claims_url=f"sqlite://{tmp_path}/claims") as purchase:
        rooms, claims = purchase.rooms, purchase.rooms.claims
        assert claims
        await purchase.reserves()
        now_ms, day_ms = rooms.clock.now_ms(), 86_400_000
        over_ms = now_ms - rooms.settings.order_retention_days * day_ms
        for n, claimed_at in enumerate((over_ms, over_ms + 2 * day_ms), 1):
            units, record = (("tee", "main", n, 1),), b'{"shopper":"ann"}'
            await claims.claim(Sale(shop, f"o_{n}", "pi", f"h_{n}", units, record, claimed_at))
        assert (await rooms.recovery.rebuilder.would(shop, 0)).missing == ("o_2",)


async def test_what_is_captured_during_the_rebuild_is_found_by_another(
    server: EmbeddedValkey, shop: str
) -> None:
    """The commit is lost, and Stripe takes the money after the rebuild has asked it."""
    async with opened(server, shop) as purchase:
        rooms, bank = purchase.rooms, purchase.bank
        await purchase.reserves(of=1)
        disk = await copied(purchase)
        await bank.fails(lock_percent=100, endpoint=CAPTURE)
        await purchase.begins()
        with pytest.raises(Unavailable):
            await rooms.settler.settle(shop, purchase.order)
        sold = Sold(shop, await purchase.record(), ("evt", b"{}"))
        await brought_back(purchase, disk)
        assert await freeze(rooms.lane, shop)
        await rooms.recovery.served(shop)
        assert await rooms.records.find(shop, purchase.order) is None
        await bank.fails()
        assert await rooms.settler.capture.take(sold, _patient) is False
        await rooms.recovery.look(shop)
        await rooms.recovery.served(shop)
        record = await purchase.record()
        assert (record.phase, record.units) == (Phase.CAPTURED, (("tee", "main", 1, 1),))
        assert (await audit(rooms.lane, shop)).drift == ()


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


async def test_what_was_rebuilt_on_a_server_that_is_gone_is_rebuilt_again(
    server: EmbeddedValkey, shop: str
) -> None:
    """The next server has the lease from the replication, and nothing that was written since."""
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        assert await freeze(rooms.lane, shop)
        frozen, key = await stand(rooms.lane, shop), ShopKeys(shop).rebuilding
        server.stop()
        server.start()
        await rooms.lane.command("SET", key, "me")
        assert await thaw(rooms.lane, shop, "me", frozen) is None
        assert await thaw(rooms.lane, shop, "me", await stand(rooms.lane, shop))


async def test_who_rebuilt_after_an_earlier_freeze_does_not_thaw(
    server: EmbeddedValkey, shop: str
) -> None:
    """It was away for so long that another has rebuilt the shop, and it was frozen once more."""
    async with opened(server, shop) as purchase:
        lane, key = purchase.rooms.lane, ShopKeys(shop).rebuilding
        await purchase.reserves()
        assert await freeze(lane, shop)
        frozen = await stand(lane, shop)
        await purchase.rooms.recovery.served(shop)
        assert await freeze(lane, shop)
        await lane.command("SET", key, "me")
        assert await thaw(lane, shop, "me", frozen) is None
        assert await thaw(lane, shop, "me", await stand(lane, shop))


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
