"""The last step of a sale in strict mode: claimed, then captured, and never for two orders."""

import contextlib
import dataclasses
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.capture import Capture, Sold
from gateway.checkout.phases import Phase
from gateway.checkout.record import Record, read_record
from gateway.checkout.records import Records
from gateway.checkout.sale import order_of
from gateway.checkout.settle import Settler, _patient
from gateway.checkout.turns import CalledOff
from gateway.claims.address import open_claims
from gateway.claims.sale import Sale
from gateway.claims.table import Claims
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.reconcile.reconciler import Reconciler
from gateway.stock.standing import State, stand
from tests.bank import CAPTURE, Bank
from tests.integration.conftest import UNLIMITED, Corner, open_site, settings_of
from tests.integration.test_metrics import numbers
from tests.purchase import Purchase

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENT_MS, SILENT_MS = 10_000, 100


class StrictPurchase(Purchase):
    """A purchase that is settled in strict mode."""

    def __init__(self, corner: Corner, bank: Bank, file: Path) -> None:
        super().__init__(corner, bank)
        self.file = file
        self.claims = self.opened(PATIENT_MS)

    def opened(self, timeout_ms: int) -> Claims:
        claims = open_claims(
            msgspec.structs.replace(
                self.rooms.settings,
                claims_url=f"sqlite://{self.file}",
                claims_timeout_ms=timeout_ms,
            )
        )
        assert claims
        return claims

    @property
    def settler(self) -> Settler:
        return dataclasses.replace(self.rooms.settler, claims=self.claims)

    async def sales(self) -> list[Sale]:
        return [sale async for sale in self.claims.sales(self.shop)]

    async def loses_its_unit(self) -> None:
        """Another order was sold the unit that is the next, and Redis has forgotten that."""
        other = Sale(self.shop, "o_other", "pi", "h", (("tee", "main", 1, 1),), b"{}", 1)
        assert await self.claims.claim(other) is None

    async def commits(self) -> None:
        """Everything but the last step."""
        await self.bank.fails(lock_percent=100, endpoint=CAPTURE)
        await self.begins()
        with pytest.raises(Unavailable):
            await self.rooms.settler.settle(self.shop, self.order)
        await self.bank.fails()
        assert (await self.record()).phase is Phase.COMMITTED

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else has the table."""
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield


@pytest_asyncio.fixture(loop_scope="module")
async def ann(corner: Corner, tmp_path: Path) -> AsyncIterator[StrictPurchase]:
    bank = Bank(corner.stripe_url)
    ann = StrictPurchase(corner, bank, tmp_path / "claims")
    await ann.reserves()
    yield ann
    await bank.fails()
    await ann.claims.aclose()


async def test_it_is_claimed_before_it_is_captured(
    ann: StrictPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged_then: list[tuple[str, int]] = []
    claim = ann.claims.claim

    async def watch(sale: Sale) -> str | None:
        answer = await claim(sale)
        charged_then.extend(await ann.charged())
        return answer

    monkeypatch.setattr(ann.claims, "claim", watch)
    assert await ann.pays() == "confirmed"
    assert charged_then == [("requires_capture", 0)]
    assert await ann.charged() == [("succeeded", 1500)]


async def test_what_is_claimed_is_enough_to_restore_the_order(ann: StrictPurchase) -> None:
    await ann.pays()
    record, [sale] = await ann.record(), await ann.sales()
    assert (sale.order, sale.intent, sale.hold) == (ann.order, record.intent, ann.hold)
    assert sale.units == (("tee", "main", 1, 1),)
    fields = msgspec.json.decode(sale.record, type=dict[str, str])
    assert "client_secret" not in fields
    assert {"event", "event_id", "committed_at"} <= fields.keys()
    restored = read_record(ann.order, fields)
    as_it_was = {"phase": Phase.COMMITTED, "client_secret": None}
    assert restored == msgspec.structs.replace(record, **as_it_was)


async def test_while_the_table_is_silent_nothing_is_captured(ann: StrictPurchase) -> None:
    await ann.claims.ready()
    patient, ann.claims = ann.claims, ann.opened(SILENT_MS)
    await ann.begins()
    with ann.locked():
        for _ in range(2):
            assert await ann.settle() == "processing"
        assert (await ann.record()).phase is Phase.COMMITTED
        assert await ann.charged() == [("requires_capture", 0)]
    # The sweep will look at it again.
    keys = ShopKeys(ann.shop)
    assert await ann.rooms.lane.command("ZSCORE", keys.unsettled, ann.order)
    await ann.claims.aclose()
    ann.claims = patient
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]


async def test_after_a_crash_between_claim_and_capture_it_is_claimed_again(
    ann: StrictPurchase,
) -> None:
    await ann.bank.fails(lock_percent=100, endpoint=CAPTURE)
    await ann.begins()
    with pytest.raises(Unavailable):
        await ann.settle()
    assert [sale.order for sale in await ann.sales()] == [ann.order]
    assert await ann.charged() == [("requires_capture", 0)]
    await ann.bank.fails()
    assert await ann.settle() == "confirmed"
    assert len(await ann.sales()) == 1
    assert await ann.charged() == [("succeeded", 1500)]


async def test_a_unit_of_another_order_is_never_captured(ann: StrictPurchase) -> None:
    await ann.loses_its_unit()
    await ann.begins()
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert frame.state == "declined"
    assert frame.message
    assert "You were not charged" in frame.message
    record = await ann.record()
    assert (record.phase, record.reason) == (Phase.FAILED, "sold_twice")
    assert await ann.charged() == [("canceled", 0)]
    assert [sale.order for sale in await ann.sales()] == ["o_other"]
    assert ann.claims.conflicts == 1
    assert await ann.settle() == "declined"


async def test_a_unit_of_another_order_stops_the_shop(ann: StrictPurchase) -> None:
    await ann.loses_its_unit()
    await ann.pays()
    assert (await stand(ann.rooms.lane, ann.shop)).state is State.FROZEN


@pytest.mark.parametrize("there", ["it is here again", "it is void"])
async def test_a_shop_is_stopped_only_for_an_order_that_can_be_written_again(
    ann: StrictPurchase, there: str
) -> None:
    """Or it would stop and start for as long as the money cannot be given back."""
    await ann.loses_its_unit()
    if there == "it is void":
        await ann.claims.void(ann.shop, "o_other")
    else:
        await ann.begins()
        keys, lane = ShopKeys(ann.shop), ann.rooms.lane
        await lane.command("COPY", keys.order(ann.order), keys.order("o_other"))
        await lane.command("HSET", keys.order("o_other"), "phase", "captured")
    assert await ann.pays() == "declined"
    assert (await stand(ann.rooms.lane, ann.shop)).state is State.SERVING


async def test_without_the_table_the_same_unit_is_captured(ann: StrictPurchase) -> None:
    """What the table is for."""
    await ann.loses_its_unit()
    await ann.begins()
    frame = await ann.rooms.settler.settle(ann.shop, ann.order)
    assert frame.state == "confirmed"


async def test_a_refused_order_that_crashed_on_the_way_is_voided_all_the_same(
    ann: StrictPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ann.loses_its_unit()
    with failing_once(monkeypatch):
        await ann.begins()
        with pytest.raises(Unavailable):
            await ann.settle()
    assert await ann.charged() == [("canceled", 0)]
    assert (await ann.record()).phase is Phase.COMMITTED
    assert await ann.settle() == "declined"
    assert (await ann.record()).reason == "sold_twice"


@contextlib.contextmanager
def failing_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Redis is gone when the order is to fail."""

    async def gone(*_: object, **__: object) -> bool:
        raise Unavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Records, "fail", gone)
        yield


async def test_money_that_was_taken_at_once_is_given_back(
    ann: StrictPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some methods do not wait for a capture, and so not for the table either."""
    await ann.commits()
    await ann.rooms.payments.capture(ann.shop, await ann.record())
    await ann.loses_its_unit()
    with failing_once(monkeypatch), pytest.raises(Unavailable):
        await ann.settle()
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert frame.state == "declined"
    assert frame.message
    assert "given back" in frame.message
    record = await ann.record()
    assert (record.phase, record.given_back) == (Phase.FAILED, record.intent)
    [refund] = await ann.bank.refunds(str(record.intent))
    assert refund["amount"] == 1500
    looked = await Reconciler(ann.settler).look(ann.shop, 0)
    assert looked.findings == ()


async def test_captured_for_other_units_it_is_left_to_the_rebuild(ann: StrictPurchase) -> None:
    """Redis has forgotten the order after its capture, and given it a number of another's."""
    await ann.commits()
    record = await ann.record()
    mine = Sale(ann.shop, ann.order, "pi", ann.hold, (("tee", "main", 9, 1),), b"{}", 1)
    assert await ann.claims.claim(mine) is None
    await ann.rooms.payments.capture(ann.shop, record)
    await ann.loses_its_unit()
    assert await ann.settle() == "processing"
    assert await ann.charged() == [("succeeded", 1500)]
    assert await ann.bank.refunds(str(record.intent)) == []
    assert await ann.claims.has(ann.shop, ann.order)


async def test_a_capture_that_is_refused_voids_the_claim(ann: StrictPurchase) -> None:
    await ann.commits()
    record = await ann.record()
    await ann.rooms.payments.cancel(ann.shop, record, str(record.intent))  # as after seven days
    assert await ann.settle() == "declined"
    assert (await ann.record()).reason == "capture_refused"
    assert await ann.sales() == []
    assert await ann.left() == 5


async def test_an_order_fails_only_once_its_claim_is_void(
    ann: StrictPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks again at an order that has failed: its claim would count for ever."""
    await ann.commits()
    record = await ann.record()
    await ann.rooms.payments.cancel(ann.shop, record, str(record.intent))

    async def gone(*_: object) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(ann.claims, "void", gone)
        with pytest.raises(Unavailable):
            await ann.settle()
    assert (await ann.record()).phase is Phase.COMMITTED
    assert await ann.settle() == "declined"
    assert await ann.sales() == []


async def test_what_has_moved_on_is_not_claimed_any_more(ann: StrictPurchase) -> None:
    await ann.commits()
    stale: Record = await ann.record()
    await ann.rooms.records.fail(ann.shop, stale, "capture_refused")
    assert await ann.settler.capture.take(Sold(ann.shop, stale, ("", b"")), _patient)
    assert await ann.sales() == []
    assert await ann.charged() == [("requires_capture", 0)]


async def test_units_that_were_numbered_anew_are_read_again_before_capture(
    ann: StrictPurchase,
) -> None:
    """By another server, which had lost the sale: the intent must not name those of the first."""
    await ann.commits()
    settler, record = ann.rooms.settler, await ann.record()
    waiting = msgspec.structs.replace(settler.settings, wait_replicas=1)
    capture = Capture(settler.records, settler.payments, settler.clock, waiting, None)
    before = msgspec.structs.replace(record, units=(("tee", "main", 9, 1),))
    for sold, ends in ((before, pytest.raises(CalledOff)), (record, contextlib.nullcontext())):
        event = settler.encode_event(ann.shop, order_of(sold, sold.intent or "", 1))
        with ends:
            assert await capture.take(Sold(ann.shop, sold, event), _patient)
        charged = [("requires_capture", 0)] if sold is before else [("succeeded", 1500)]
        assert await ann.charged() == charged


async def test_a_gateway_in_strict_mode_sells(redis_url: str, tmp_path: Path) -> None:
    shop = f"shop_{uuid.uuid4().hex}"
    settings = msgspec.structs.replace(
        settings_of(redis_url, shop),
        claims_url=f"sqlite://{tmp_path}/claims",
        claims_timeout_ms=PATIENT_MS,
    )
    async with open_site(settings, UNLIMITED) as site:
        await site.sells("tee", 1)
        async with site.shopper("ann") as ann:
            assert (await ann.buys("tee", "k"))["state"] == "confirmed"
        told = await numbers(site)
        assert told["holdfast_claims_refused_total"] == 0
        assert told["holdfast_claims_waiting"] == 0
        claims = site.rooms.claims
        assert claims
        assert [one.units async for one in claims.sales(shop)] == [(("tee", "main", 1, 1),)]
    with pytest.raises(Unavailable):
        await claims.shops()
