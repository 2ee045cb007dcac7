"""Checkout over a real socket, and the desk that runs it: payments outlive whoever began them."""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout import desk as desks
from gateway.checkout.desk import Desk
from gateway.checkout.settle import Hear
from gateway.errors import NotFound, Overloaded, Unavailable
from gateway.keys import ShopKeys
from gateway.messages import CheckoutFrame
from gateway.settings import Settings
from gateway.stock.holds import order_id
from gateway.stock.now import now
from tests.bank import CREATE, Bank
from tests.integration.conftest import UNLIMITED, Corner, open_site
from tests.shopper import PATIENCE_S, Message, Shopper, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND_STEP = "pm_card_authenticationRequired"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"


@pytest_asyncio.fixture(loop_scope="module")
async def bank(corner: Corner) -> AsyncIterator[Bank]:
    await corner.sells("tee", 9)
    bank = Bank(corner.stripe_url)
    yield bank
    await bank.fails()


async def holds(shopper: Shopper, key: str = "k") -> Message:
    reply = await shopper.ask("reserve", key=key, lines=[{"sku": "tee", "quantity": 1}])
    hold: Message = reply["hold"]
    return hold


async def pay(shopper: Shopper, hold: Message, **payment: str) -> Message:
    return await shopper.ask(
        "checkout",
        hold=hold["id"],
        expected_total=hold["total"],
        payment=payment,
        contact={"email": "ann@example.com", "name": "Ann", "phone": "+49 30 1"},
        ship_to={"line1": "1 Main St", "country": "DE", "city": "Berlin"},
    )


async def test_a_confirmed_payment(corner: Corner, bank: Bank) -> None:
    async with corner.shopper("ann") as ann:
        hold = await holds(ann)
        paid = await pay(ann, hold, confirmation_token=await bank.token("pm_card_visa"))
        assert paid.keys() == {"type", "id", "hold", "state", "order"}
        assert (paid["type"], paid["hold"], paid["state"]) == ("checkout", hold["id"], "confirmed")
        order = paid["order"]
        assert order.keys() == {"id", "hold", "order_version", "state", "lines", "total"}
        assert (order["total"], order["lines"]) == (hold["total"], hold["lines"])
        assert [one["status"] for one in await bank.intents(order["id"])] == ["succeeded"]
    record = await corner.rooms.records.find(corner.shop, order["id"])
    assert record
    assert record.ship_to
    assert record.contact
    assert (record.contact.name, record.ship_to.city) == ("Ann", "Berlin")


async def test_a_declined_card_and_then_another(corner: Corner, bank: Bank) -> None:
    async with corner.shopper("ann") as ann:
        hold = await holds(ann)
        no = await ann.pays(hold, DECLINED)
        assert (no["type"], no["state"]) == ("checkout", "declined")
        assert (no["code"], no["decline_code"]) == ("payment_declined", "insufficient_funds")
        assert "another card" in no["message"]
        assert (await ann.pays(hold))["state"] == "confirmed"


async def test_a_second_step_is_taken_in_the_page_and_the_rest_is_pushed(
    corner: Corner, bank: Bank
) -> None:
    async with corner.shopper("ann") as ann, corner.shopper("ann") as tablet:
        hold = await holds(ann)
        step = await ann.pays(hold, SECOND_STEP)
        assert step["state"] == "requires_action"
        assert step["client_secret"].startswith("pi_")
        again = await ann.pays(hold, SECOND_STEP)
        assert again | {"id": 0} == step | {"id": 0}
        other = await ann.pays(hold)
        assert other["code"] == "completion_in_progress"
        await bank.second_step(step["client_secret"])
        await corner.rooms.settler.settle(corner.shop, "o_" + hold["id"].removeprefix("h_"))
        for device in (ann, tablet):
            confirmed = await device.hears("checkout", state="confirmed")
            assert "id" not in confirmed
            order = await device.hears("order")
            assert order["order"] == confirmed["order"]


async def test_a_client_secret_is_for_its_shopper_only(
    corner: Corner, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gateway")
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        step = await ann.pays(await holds(ann), SECOND_STEP)
        await corner.sells("cap", 1)
        await bob.hears("catalog")
        assert step["client_secret"] not in json.dumps(bob.pushes)
    for record in caplog.records:
        if record.name.startswith("gateway"):
            assert "_secret_" not in record.getMessage()
            assert "shopper@example.com" not in record.getMessage()


async def test_a_payment_goes_on_when_its_socket_closes(corner: Corner, bank: Bank) -> None:
    await bank.fails(latency_ms=300, endpoint=CREATE)
    async with corner.shopper("ann") as ann:
        hold = await holds(ann)
        paying = asyncio.create_task(ann.pays(hold))
        async with asyncio.timeout(PATIENCE_S):
            while not corner.gateway.desk._running:
                await asyncio.sleep(0.005)
        ann.socket.transport.abort()
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        while not (welcome := await welcomed(corner, "ann"))["orders"]:
            pass
    assert welcome["holds"] == []
    async with corner.shopper("ann") as ann, asyncio.timeout(PATIENCE_S):
        while (await ann.pays(hold))["state"] != "confirmed":
            pass


async def welcomed(corner: Corner, name: str) -> Message:
    async with connected(corner.socket_url) as shopper:
        return await shopper.ask("connect", token=corner.ticket(name), show="tonight")


async def test_a_bank_that_is_down_for_a_moment_costs_time_only(corner: Corner, bank: Bank) -> None:
    await bank.fails(lock_percent=100, times=3, endpoint=CREATE)
    async with corner.shopper("ann") as ann:
        assert (await ann.buys("tee", "k"))["state"] == "confirmed"


async def test_whoever_waits_long_hears_the_place_in_the_queue(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two payments a second: the reply says how long, and pushes say how it goes on."""
    monkeypatch.setattr(desks, "_PATIENCE_S", 1)
    settings = msgspec.structs.replace(settings, stripe_rate_per_s=2)
    async with open_site(settings, UNLIMITED) as site, contextlib.AsyncExitStack() as stack:
        await site.sells("tee", 9)
        shoppers = [await stack.enter_async_context(site.shopper(f"s{n}")) for n in range(9)]
        mine = [await holds(shopper) for shopper in shoppers]
        first = await asyncio.gather(
            *(shopper.pays(hold) for shopper, hold in zip(shoppers, mine, strict=True))
        )
        queued = [answer for answer in first if answer["state"] == "queued"]
        assert len(queued) >= 4
        assert max(answer["position"] for answer in queued) >= 5
        assert all(0 < answer["eta_s"] <= answer["position"] for answer in queued)
        last = shoppers[first.index(max(queued, key=lambda answer: answer["position"]))]
        moved = await last.hears("checkout", state="queued")
        assert moved["position"] <= max(answer["position"] for answer in queued)
        # Who is told every few seconds is not looked at by the sweep in between.
        order = order_id(moved["hold"])
        looked_at_ms = await site.rooms.lane.command("ZSCORE", ShopKeys(site.shop).unsettled, order)
        soonest_ms = await now(site.rooms.lane, site.shop) + settings.settle_interval_s * 1000
        assert float(looked_at_ms) > soonest_ms + 2_000
        for shopper in shoppers:
            await shopper.hears("checkout", state="confirmed")


class Bench:
    """A settler that takes as long, and ends as badly, as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.go_on = asyncio.Event()
        self.errors: list[Exception] = []
        self.place: CheckoutFrame | None = None
        self.seconds = 0.0

    @property
    def clock(self) -> "Bench":
        return self

    def monotonic_s(self) -> float:
        """Every look at the clock takes a second."""
        self.seconds += 1
        return self.seconds

    async def settle(self, shop: str, order: str, hear: Hear | None = None) -> CheckoutFrame:
        self.calls.append((shop, order))
        if self.place and hear:
            hear(self.place)
        await self.go_on.wait()
        if self.errors:
            raise self.errors.pop(0)
        return CheckoutFrame(hold=f"h_{order}", state="confirmed")


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def desk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name, value in {"_PATIENCE_S": 0.2, "_BACKOFF_S": 0.001, "_GRACE_S": 0.05}.items():
        monkeypatch.setattr(desks, name, value)
    settler: object = bench
    return Desk(settler, Settings(payment_budget_s=5), random.Random(1))  # type: ignore[arg-type]


async def test_a_long_queue_is_said_at_once(
    desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "_PATIENCE_S", 30)
    bench.place = CheckoutFrame(hold="h", state="queued", position=900, eta_s=36)
    async with asyncio.timeout(5):
        assert await desk.settle("s", "o", "h") == bench.place
    bench.go_on.set()


async def test_a_short_queue_is_waited_for(desk: Desk, bench: Bench) -> None:
    bench.place = CheckoutFrame(hold="h", state="queued", position=1, eta_s=0)
    waiting = asyncio.create_task(desk.settle("s", "o", "h"))
    await asyncio.sleep(0)
    bench.go_on.set()
    assert (await waiting).state == "confirmed"


async def test_all_who_ask_for_one_order_wait_for_one_payment(desk: Desk, bench: Bench) -> None:
    asked = [asyncio.create_task(desk.settle("s", "o", "h")) for _ in range(5)]
    await asyncio.sleep(0)
    asked[0].cancel()
    bench.go_on.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [a.state for a in answers[1:] if isinstance(a, CheckoutFrame)] == ["confirmed"] * 4
    assert bench.calls == [("s", "o")]


async def test_the_same_order_of_two_shops_is_two_payments(desk: Desk, bench: Bench) -> None:
    bench.go_on.set()
    await asyncio.gather(desk.settle("a", "o", "h"), desk.settle("b", "o", "h"))
    assert sorted(bench.calls) == [("a", "o"), ("b", "o")]


async def test_what_is_unavailable_is_tried_again_and_then_left(
    desk: Desk, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.go_on.set()
    bench.errors = [Unavailable("?") for _ in range(4)]
    assert (await desk.settle("s", "o1", "h")).state == "confirmed"
    bench.errors = [Unavailable("?") for _ in range(5)]
    assert (await desk.settle("s", "o2", "h")).state == "processing"
    assert not bench.errors
    assert [record.getMessage() for record in caplog.records] == [
        "payments: order o2 is left to the sweep: unavailable"
    ]


async def test_what_is_wrong_is_said_at_once(desk: Desk, bench: Bench) -> None:
    bench.go_on.set()
    bench.errors = [NotFound("There is no such order.")]
    with pytest.raises(NotFound):
        await desk.settle("s", "o", "h")
    assert bench.calls == [("s", "o")]


async def test_a_full_desk_says_so(
    desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "_MOST", 1)
    first = asyncio.create_task(desk.settle("s", "o1", "h"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await desk.settle("s", "o2", "h")
    bench.go_on.set()
    assert (await first).state == "confirmed"
    assert (await desk.settle("s", "o2", "h")).state == "confirmed"


async def test_closing_waits_for_a_moment_and_leaves_nothing_running(
    desk: Desk, bench: Bench
) -> None:
    before = asyncio.all_tasks()
    waiting = [asyncio.create_task(desk.settle("s", f"o{n}", "h")) for n in range(3)]
    await asyncio.sleep(0)
    await desk.close()
    assert {frame.state for frame in await asyncio.gather(*waiting)} == {"processing"}
    assert not desk._running
    assert asyncio.all_tasks() == before


async def test_a_payment_that_broke_does_not_keep_the_process_from_stopping(
    desk: Desk, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.errors = [RuntimeError("a bug")]
    waiting = asyncio.create_task(desk.settle("s", "o", "h"))
    await asyncio.sleep(0)
    bench.go_on.set()
    await desk.close()
    with pytest.raises(RuntimeError):
        await waiting
    assert [record.getMessage() for record in caplog.records] == [
        "payments: order o: a step failed"
    ]
