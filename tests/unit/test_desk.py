"""The desk alone, with a settler that does as it is told: who waits for what, and how it closes."""

import asyncio
import random

import pytest

from gateway.checkout import desk as desks
from gateway.checkout.desk import Desk
from gateway.checkout.settle import Hear
from gateway.errors import NotFound, Overloaded, Unavailable
from gateway.messages import CheckoutFrame
from gateway.settings import Settings


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
    waiting = [asyncio.create_task(desk.settle("s", f"o{n}", "h")) for n in range(3)]
    await asyncio.sleep(0)
    await desk.close()
    assert {frame.state for frame in await asyncio.gather(*waiting)} == {"processing"}
    assert not desk._running
    assert asyncio.all_tasks() == {asyncio.current_task()}


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
