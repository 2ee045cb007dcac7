"""Hypothesis plays commands against the scripts on a real Valkey, and against a model of them.

After every step all quantities, holds, limits and the version are compared, the books must balance,
and a viewer who only ever heard the news must know the stock.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway import news
from gateway.checkout.phases import Phase
from gateway.checkout.records import CommitRefused
from gateway.clock import rfc3339
from gateway.errors import HoldfastError, SoldOut
from gateway.lane import connect, pairs, served
from gateway.model import Movement
from gateway.stock.holds import Held
from gateway.stock.sweeper import expire_due
from tests.depth import deep
from tests.property.draws import batches, late_copies, shoppers, times, tokens, wants
from tests.property.model import FUTURE_S, LIMITS, MOST_HOLDS, Hold, Model, Move, Want
from tests.stall import SHOW, Stall, checkout, settings_for

pytestmark = deep

T = TypeVar("T")

OPENED_MS = 1_700_000_000_000
PATIENCE_S = 30.0


class StockMachine(RuleBasedStateMachine):
    """One shop of its own, played step by step."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.seen: dict[str, int] = {}
        self.heard = 0
        settings = settings_for(
            self.url,
            f"shop_{uuid.uuid4().hex}",
            holds_per_shopper=MOST_HOLDS,
            redis_timeout_ms=5000,
        )
        self.stack = contextlib.AsyncExitStack()
        self.stall = Stall(self.run(self.stack.enter_async_context(served(settings))), settings)
        listener = connect(settings)
        self.stack.push_async_callback(listener.aclose)
        self.pubsub = listener.pubsub()
        self.stack.push_async_callback(self.pubsub.aclose)
        self.run(self.pubsub.ssubscribe(self.stall.keys.news))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        with self.runner:
            self.run(self.stack.aclose())

    @initialize(tees=st.integers(0, 9), caps=st.integers(0, 9), store=st.integers(0, 5))
    def the_show_begins(self, tees: int, caps: int, store: int) -> None:
        async def begin() -> None:
            await self.stall.opens()
            for sku in ("cap", "tee"):
                await self.stall.lists(sku, LIMITS.get(sku))

        self.run(begin())
        batch = [
            ("first_tees", Move("counted", "tee", "main", tees, 1)),
            ("first_caps", Move("counted", "cap", "main", caps, 1)),
            ("first_store", Move("counted", "tee", "store", store, 1)),
        ]
        self.report(batch)

    # What shoppers do.

    @rule(group=st.lists(wants, min_size=1, max_size=4), again=st.none() | st.integers(0, 3))
    def reserve(self, group: list[Want], again: int | None = None) -> None:
        """Several at once: the first goes at once, the others together in the next call."""
        if again is not None:
            group = [*group, group[again % len(group)]]
        before = self.free()
        expected = []
        for call in (group[:1], group[1:]):
            words = self.model.reserve(call)
            expected += [(word, self.model.version) for word in words]

        async def ask() -> list[tuple[str, int | None]]:
            return await asyncio.gather(*(outcome(self.ask(want)) for want in group))

        for (word, version), (said, told) in zip(expected, self.run(ask()), strict=True):
            assert said == word
            assert told in {None, version}
        for place, row in self.run(self.stall.books()).stock.items():
            assert row.held + row.committed <= before[place][0] + before[place][1]

    async def ask(self, want: Want) -> Held:
        # Each line is asked for one unit at a time: the same sku again is one line.
        singly = [(sku, 1) for sku, units in want.lines for _ in range(units)]
        return await self.stall.reserves(want.shopper, want.key, *singly, pickup=want.pickup)

    def free(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What is promised, and what may still be, by place."""
        return {
            place: (row.held + row.committed, max(0, row.available))
            for place, row in self.run(self.stall.books()).stock.items()
        }

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.model.holds)))
        self.reserve([self.model.holds[name].want])

    def somebody_at_a_hold(self, data: st.DataObject) -> tuple[str, str, str]:
        """Who asks, mostly its owner, and the hold's owner and key; one hold was never made."""
        owner, key = data.draw(st.sampled_from([*self.model.holds, ("ann", "never")]))
        return data.draw(shoppers | st.just(owner)), owner, key

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        shopper, owner, key = self.somebody_at_a_hold(data)
        hold = self.stall.hold_of(owner, key)
        extending = self.stall.holds.extend(self.stall.shop, shopper, hold)
        assert self.run(outcome(extending))[0] == self.model.extend(shopper, owner, key)

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        shopper, owner, key = self.somebody_at_a_hold(data)
        hold = self.stall.hold_of(owner, key)
        releasing = self.stall.holds.release(self.stall.shop, shopper, hold)
        assert self.run(outcome(releasing))[0] == self.model.release(shopper, owner, key)

    @precondition(lambda self: self.ongoing())
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        """The deadline passes; nobody has looked yet."""
        shopper, key = data.draw(st.sampled_from(self.ongoing()))
        self.run(self.stall.lapses(self.stall.hold_of(shopper, key), shopper))
        self.model.holds[shopper, key].lapsed = True

    def ongoing(self) -> list[tuple[str, str]]:
        return [name for name, hold in self.model.holds.items() if hold.state == "active"]

    @precondition(lambda self: any(hold.lapsed for hold in self.model.holds.values()))
    @rule()
    def sweep(self) -> None:
        expiring = expire_due(self.stall.lane, self.stall.settings, self.stall.shop)
        assert self.run(expiring) == self.model.sweep()

    # What becomes of payments.

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), token=tokens)
    def begin_payment(self, data: st.DataObject, token: str) -> None:
        self.begun(*self.somebody_at_a_hold(data), token)

    def begun(self, shopper: str, owner: str, key: str, token: str) -> None:
        hold = self.model.holds.get((owner, key))
        amount = 500 * sum(units for _, _, units in hold.taken) if hold else 500
        wish = checkout(self.stall.hold_of(owner, key), amount, token)
        beginning = outcome(self.stall.records.begin(self.stall.shop, shopper, wish))
        assert self.run(beginning)[0] == self.model.begin(shopper, owner, key, token)

    @precondition(lambda self: self.ongoing())
    @rule(data=st.data(), to=st.sampled_from(["paying", "declined", "committed"]))
    def pay(self, data: st.DataObject, to: str) -> None:
        """The usual walk, which single steps drawn at random would rarely be."""
        shopper, key = data.draw(st.sampled_from(self.ongoing()))
        hold = self.model.holds[shopper, key]
        self.begun(shopper, shopper, key, hold.token or "pm_card_visa")
        if not hold.attempt or to == "paying":
            return
        if to == "committed":
            self.committed((shopper, key), hold, hold.attempt)
        else:
            self.moved((shopper, key), hold, Phase.DECLINED, hold.attempt)

    @precondition(lambda self: self.sold())
    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        """The POS hands out what was sold, before or after its money is captured."""
        sku, place = data.draw(st.sampled_from(self.sold()))
        units = data.draw(st.integers(1, self.model.stock[sku][place].committed))
        at_s = data.draw(times)
        reference = f"out{len(self.model.moves)}"
        self.report([(reference, Move("fulfilled", sku, place, units, at_s))])

    def sold(self) -> list[tuple[str, str]]:
        return [
            (sku, place)
            for sku, places in self.model.stock.items()
            for place, row in places.items()
            if row.committed > 0
        ]

    def paid(self) -> list[tuple[str, str]]:
        return [name for name, hold in self.model.holds.items() if hold.attempt]

    @precondition(lambda self: self.paid())
    @rule(data=st.data(), late=late_copies)
    def commit(self, data: st.DataObject, late: int) -> None:
        self.committed(*self.an_order(data, late))

    def committed(self, name: tuple[str, str], hold: Hold, attempt: int) -> None:
        assert self.run(self.committing(name, attempt)) == self.model.commit(hold, attempt)

    async def committing(self, name: tuple[str, str], attempt: int) -> str:
        record = await self.stall.record(self.stall.order_of(*name))
        try:
            await self.stall.commits(msgspec.structs.replace(record, attempt=attempt))
        except CommitRefused:
            return "refused"
        return "committed"

    @precondition(lambda self: self.paid())
    @rule(data=st.data(), late=late_copies, phase=st.sampled_from(Phase))
    def move_order(self, data: st.DataObject, late: int, phase: Phase) -> None:
        name, hold, attempt = self.an_order(data, late)
        self.moved(name, hold, phase, attempt)

    def moved(self, name: tuple[str, str], hold: Hold, phase: Phase, attempt: int) -> None:
        async def moving() -> bool:
            record = await self.stall.record(self.stall.order_of(*name))
            record = msgspec.structs.replace(record, attempt=attempt)
            return await self.stall.records.move(
                self.stall.shop, record, phase, look_again_ms=1000, hold_for_ms=60_000
            )

        assert self.run(moving()) == self.model.move_order(hold, phase.value, attempt)

    @precondition(lambda self: self.paid())
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        name, hold, _ = self.an_order(data, 0)

        async def failing() -> bool:
            record = await self.stall.record(self.stall.order_of(*name))
            return await self.stall.records.fail(self.stall.shop, record, "capture_refused")

        assert self.run(failing()) == self.model.fail(hold)

    def an_order(self, data: st.DataObject, late: int) -> tuple[tuple[str, str], Hold, int]:
        name = data.draw(st.sampled_from(self.paid()))
        hold = self.model.holds[name]
        return name, hold, hold.attempt - late

    # What the physical world reports.

    @rule(batch=batches)
    def report(self, batch: list[tuple[str, Move]]) -> None:
        movements = tuple(reported(reference, move) for reference, move in batch)
        results = self.run(self.stall.movements.apply(self.stall.shop, movements))
        told = [(result.code or result.status, result.available) for result in results]
        assert told == self.model.report(batch)

    @precondition(lambda self: self.model.moves)
    @rule(data=st.data())
    def report_again(self, data: st.DataObject) -> None:
        reference = data.draw(st.sampled_from(sorted(self.model.moves)))
        self.report([(reference, self.model.moves[reference][0])])

    # What must be so after every step.

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        books = await self.stall.books()
        assert books.drifts() == []
        assert books.version == self.model.version
        assert {
            place: (
                row.on_hand,
                row.safety_stock,
                row.held,
                row.committed,
                row.available,
                row.next_unit,
            )
            for place, row in books.stock.items()
        } == {
            (sku, place): (
                row.on_hand,
                row.safety_stock,
                row.held,
                row.committed,
                row.available,
                row.next_unit,
            )
            for sku, places in self.model.stock.items()
            for place, row in places.items()
        }
        assert {hold: facts["state"].decode() for hold, facts in books.holds.items()} == {
            self.stall.hold_of(*name): hold.state for name, hold in self.model.holds.items()
        }
        await self.compare_shoppers()
        await self.hear()

    async def compare_shoppers(self) -> None:
        for shopper in ("ann", "bob"):
            key = self.stall.keys.shopper(shopper)
            counts = pairs(await self.stall.lane.command("HGETALL", key))
            assert int(counts.get("holds", b"0")) == self.model.active(shopper)
            for sku in ("cap", "tee"):
                units = int(counts.get(f"units:{SHOW}:{sku}", b"0"))
                assert units == self.model.units(shopper, sku)

    async def hear(self) -> None:
        """Read the news up to the version of now; no version is left out, and none comes twice."""
        async with asyncio.timeout(PATIENCE_S):
            while self.heard < self.model.version:
                message = await self.pubsub.get_message(
                    ignore_subscribe_messages=True, timeout=PATIENCE_S
                )
                if message is None:
                    continue
                told = news.decode(message["data"])
                if not told.version:
                    continue  # a deadline has moved, the stock has not
                assert told.version == self.heard + 1
                self.heard = told.version
                self.seen |= told.stock
                self.check_told(told)
        assert self.seen == {
            sku: self.model.on_sale(sku) for sku, places in self.model.stock.items() if places
        }

    def check_told(self, told: news.News) -> None:
        """Only who is concerned is named, and every word of a hold can be read."""
        ids = {self.stall.hold_of(*name): name[0] for name in self.model.holds}
        for shopper, *words in told.holds:
            assert ids[news.hold_from_words(tuple(words)).id] == shopper


async def outcome(work: Awaitable[Held | str]) -> tuple[str, int | None]:
    """The word a client would hear, and the version where one is told."""
    try:
        got = await work
    except SoldOut as sold_out:
        facts = sold_out.facts
        return f"sold_out {facts['sku']} {facts['available']}", None
    except HoldfastError as error:
        return error.code, None
    return (got.hold.state, got.version) if isinstance(got, Held) else ("ordered", None)


def reported(reference: str, move: Move) -> Movement:
    opened_ms = OPENED_MS if move.at_s < FUTURE_S else 10 * OPENED_MS
    return Movement(
        reference,
        move.kind,  # type: ignore[arg-type]  # the strategies draw no other word
        move.sku,
        move.location,
        move.quantity,
        rfc3339(opened_ms + move.at_s * 1000),
        "test",
    )


def test_the_scripts_do_as_the_model_does(redis_url: str) -> None:
    class Machine(StockMachine):
        url = redis_url

    run_state_machine_as_test(Machine)
