"""What a rebuild finds: nothing that was sold is missed, and nothing that was undone comes back."""

from pathlib import Path

import pytest

from gateway.checkout.capture import Sold
from gateway.checkout.phases import Phase
from gateway.checkout.refund import RefundRequest
from gateway.checkout.settle import _patient
from gateway.claims.sale import Sale
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.model import Contact, Fulfillment
from gateway.orders import current
from gateway.orders.stream import OrderStream
from gateway.reconcile.findings import Mend
from gateway.reconcile.reconciler import Reconciler
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.stock.audit import audit
from gateway.stock.lost import Known, bring_back
from gateway.stock.standing import Position, freeze, stand, thaw
from tests.bank import CAPTURE
from tests.integration.conftest import SHOW
from tests.integration.test_recovery import TEE, brought_back, copied, forgets, opened
from tests.purchase import Purchase
from tests.stall import moved


@pytest.fixture
def server(warden: Warden, tmp_path: Path) -> EmbeddedValkey:
    """A Valkey that may come to harm; started by ``opened``."""
    return EmbeddedValkey(warden.group, port=0, data_dir=tmp_path, appendfsync="always")


@pytest.fixture(autouse=True)
def _nobody_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gateway has holds to bring back, so that no rebuild need wait for any."""
    monkeypatch.setattr("gateway.recovery.recovery._GATHER_S", 0.0)


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


async def rebuilt(purchase: Purchase) -> None:
    """What is lost is written again; the shop stays frozen, lest the test wait for its gateways."""
    assert await freeze(purchase.rooms.lane, purchase.shop)
    found = await purchase.rooms.recovery.rebuilder.rebuild(purchase.shop, 0)
    assert found.missing == (purchase.order,)


async def test_an_order_that_only_stripe_remembers_is_read_told_and_refunded(
    server: EmbeddedValkey, shop: str
) -> None:
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        await purchase.pays()
        (before,) = (await OrderStream(rooms.lane, shop).page("", 10)).orders
        await forgets(purchase)
        await rebuilt(purchase)
        after = await current.find(rooms.lane, shop, purchase.order)
        assert after
        assert (after.id, after.data.contact) == (before.id, None)
        same = ("id", "state", "lines", "total", "tenders", "show")
        assert all(getattr(after.data, name) == getattr(before.data, name) for name in same)
        # The sweep finds that the till was not told.
        found = await Reconciler(rooms.settler).look(shop, 0, Mend.SAFE)
        assert (found.differences, found.left) == ({"event_missing": 1}, 0)
        assert (await OrderStream(rooms.lane, shop).page("", 10)).orders == (after,)
        await rooms.refunds.begin(shop, purchase.order, "k", RefundRequest())
        await rooms.settler.settle(shop, purchase.order)
        (refund,) = (await purchase.record()).refunds
        assert (refund.state, refund.order_version) == ("done", 2)
        assert (await Reconciler(rooms.settler).look(shop, 0)).differences == {}


async def test_the_till_is_told_what_the_record_still_knows(
    server: EmbeddedValkey, shop: str
) -> None:
    """Of a payment that was begun, the end is lost."""
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        await purchase.begins()
        disk = await copied(purchase)
        await purchase.settle()
        await brought_back(purchase, disk)
        await rebuilt(purchase)
        assert (await purchase.record()).phase is Phase.CAPTURED
        event = await current.find(rooms.lane, shop, purchase.order)
        assert event
        assert event.data.contact == Contact("ann@example.com")


async def test_the_till_is_not_told_without_contact_what_it_can_be_told_with(
    server: EmbeddedValkey, shop: str
) -> None:
    """Only the record is lost; the stream has the event."""
    async with opened(server, shop) as purchase:
        rooms = purchase.rooms
        await purchase.reserves()
        await purchase.pays()
        await rooms.lane.command("DEL", ShopKeys(shop).order(purchase.order))
        await rebuilt(purchase)
        assert (await Reconciler(rooms.settler).look(shop, 0, Mend.SAFE)).differences == {}
        (event,) = (await OrderStream(rooms.lane, shop).page("", 10)).orders
        assert event.data.contact


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
