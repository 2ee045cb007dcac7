"""Whatever is asked for, in whatever order: never more goes back than came, money or units.

Hypothesis asks for refunds and lets them end as it likes, on a real Valkey; what Stripe says
is drawn, too. A model knows what is left.
"""

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.checkout.payment import Payments
from gateway.checkout.phases import Phase
from gateway.checkout.record import Record
from gateway.checkout.refund import RefundRequest
from gateway.checkout.refunds import Refunds
from gateway.checkout.sale import order_of
from gateway.clock import SystemClock
from gateway.errors import HoldfastError, IdempotencyKeyReused, Invalid, RefundTooMuch
from gateway.lane import Lane, pairs, served
from gateway.model import Order
from gateway.orders import entry
from tests.depth import deep
from tests.stall import Stall, moved, settings_for

pytestmark = deep

PRICE = 500
SOLD = {("tee", "main"): 2, ("tee", "store"): 1, ("cap", "main"): 2}
TOTAL = PRICE * sum(SOLD.values())


def lines_of(units: dict[str, int]) -> list[dict[str, Any]] | None:
    return [{"sku": sku, "quantity": quantity} for sku, quantity in units.items()] or None


wishes = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.builds(
            lambda amount: {"amount": amount, "currency": "EUR"},
            st.integers(0, TOTAL) | st.sampled_from([PRICE, TOTAL, TOTAL + 1]),
        ),
        "lines": st.dictionaries(
            st.sampled_from(["tee", "cap", "sock"]), st.integers(1, 4), min_size=1
        ).map(lines_of),
        "restock": st.booleans(),
    },
).map(lambda wish: msgspec.convert(wish, RefundRequest))

begin = st.tuples(st.just("begin"), st.sampled_from("abcdef"), wishes)
end = st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(["done", "done", "failed"]))
leave = st.tuples(st.just("leave"), st.sampled_from(sorted(SOLD)), st.integers(1, 2))
plays = st.lists(begin | end | leave, min_size=1, max_size=25)


@dataclass
class Wanted:
    """A refund that was begun."""

    amount: int
    units: dict[str, int]
    state: str = "pending"


@dataclass
class Model:
    """What may still go back."""

    asked: dict[str, RefundRequest] = field(default_factory=dict)
    refunds: list[Wanted] = field(default_factory=list)

    @property
    def _alive(self) -> list[Wanted]:
        return [one for one in self.refunds if one.state != "failed"]

    @property
    def money(self) -> int:
        return TOTAL - sum(one.amount for one in self._alive)

    def units(self, sku: str) -> int:
        sold = sum(units for (of, _), units in SOLD.items() if of == sku)
        return sold - sum(one.units.get(sku, 0) for one in self._alive)

    def begin(self, key: str, wish: RefundRequest) -> type[HoldfastError] | None:
        """The error there must be, or none."""
        if (wish.amount and not wish.amount.amount) or (wish.restock and not wish.about_units):
            return Invalid
        if key in self.asked:
            same = self.asked[key].fingerprint == wish.fingerprint
            return None if same else IdempotencyKeyReused
        asked = {line.sku: line.quantity for line in wish.lines or ()}
        if wish.lines is None and wish.amount is None:
            asked = {sku: left for sku in ("tee", "cap") if (left := self.units(sku))}
            amount = self.money
        else:
            amount = wish.amount.amount if wish.amount else PRICE * sum(asked.values())
        if not amount or amount > self.money:
            return RefundTooMuch
        if any(units > self.units(sku) for sku, units in asked.items()):
            return RefundTooMuch
        self.asked[key] = wish
        self.refunds.append(Wanted(amount, asked))
        return None


@dataclass
class Game:
    """One paid order, and everything that is tried with it."""

    stall: Stall
    refunds: Refunds
    record: Record
    model: Model = field(default_factory=Model)
    left: int = 0

    async def play(self, move: tuple[Any, ...]) -> None:
        match move:
            case ["begin", key, wish]:
                await self.begins(key, wish)
            case ["end", index, state]:
                await self.ends(index, state)
            case ["leave", (sku, location), units]:
                self.left += 1
                move_ = moved(f"out_{self.left}", sku, units, kind="fulfilled", location=location)
                await self.stall.movements.apply(self.stall.shop, (move_,))

    async def begins(self, key: str, wish: RefundRequest) -> None:
        expected = self.model.begin(key, wish)
        begin = self.refunds.begin(self.stall.shop, self.record.order, key, wish)
        if expected:
            with pytest.raises(expected):
                await begin
            return
        refund = await begin
        assert refund.amount == self.model.refunds[refund.n - 1].amount

    async def ends(self, index: int, state: str) -> None:
        kept = await self.refunds.read(self.stall.shop, self.record.order)
        if index >= len(kept.refunds):
            return
        refund, mine = kept.refunds[index], self.model.refunds[index]
        if state == "failed":
            await self.refunds._fail(self.stall.shop, self.record, refund, "drawn")
        else:
            await self.refunds._finish(self.stall.shop, self.record, refund, f"re_{index}")
        if mine.state == "pending":
            mine.state = state

    async def check(self) -> None:
        kept = await self.refunds.read(self.stall.shop, self.record.order)
        assert [one.state for one in kept.refunds] == [one.state for one in self.model.refunds]
        done = [one for one in kept.refunds if one.state == "done"]
        alive = [one for one in kept.refunds if one.state != "failed"]
        assert sum(one.amount for one in alive) <= TOTAL
        for place, sold in SOLD.items():
            back = sum(
                line.quantity
                for one in alive
                for line in one.lines
                if (line.sku, line.location) == place
            )
            assert back <= sold
        await self.check_versions(kept.order, len(done))
        waiting = await self.stall.lane.command(
            "ZSCORE", self.stall.keys.unsettled, self.record.order
        )
        assert (waiting is not None) == any(one.state == "pending" for one in kept.refunds)
        assert (await self.stall.books()).drifts() == []

    async def check_versions(self, order: Order, done: int) -> None:
        entries = await self.stall.lane.command("XRANGE", self.stall.keys.orders, "-", "+")
        told = [entry.decode(pairs(fields)["event"]).data for _, fields in entries]
        assert [one.order_version for one in told] == list(range(1, done + 2))
        assert told[-1] == order
        assert len(order.refunds) == done
        whole = sum(one.amount.amount for one in order.refunds) == TOTAL
        assert whole == (order.state in {"refunded", "canceled"})
        assert (order.state == "confirmed") == (not done)


async def opened(lane: Lane, url: str) -> Game:
    """A shop of its own, where ann has paid for everything there is."""
    settings = settings_for(url, f"shop_{uuid.uuid4().hex}")
    stall = Stall(lane, settings)
    for sku in ("tee", "cap"):
        await stall.sells(sku, SOLD[sku, "main"])
    more = moved("store", "tee", SOLD["tee", "store"], location="store")
    await stall.movements.apply(stall.shop, (more,))
    held = await stall.reserves("ann", "k", ("tee", 3), ("cap", 2))
    record = await stall.pays("ann", held)

    def encode(shop: str, order: Order) -> tuple[str, bytes]:
        event = entry.event(shop, order)
        return event.id, entry.encode(event)

    event = encode(stall.shop, order_of(record, "pi_1", 1_800_000_000_000))
    await stall.records.commit(stall.shop, record, *event)
    assert await stall.records.move(stall.shop, record, Phase.CAPTURED)
    payments = Payments(settings, lane, SystemClock())
    return Game(stall, Refunds(lane, payments, settings, SystemClock(), encode), record)


def test_never_more_goes_back_than_came(redis_url: str) -> None:
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        lanes = contextlib.AsyncExitStack()
        settings = settings_for(redis_url, "refunds", redis_timeout_ms=5000)
        lane = runner.run(lanes.enter_async_context(served(settings)))
        stack.callback(lambda: runner.run(lanes.aclose()))

        @given(plays)
        def games(moves: list[tuple[Any, ...]]) -> None:
            runner.run(game(moves))

        async def game(moves: list[tuple[Any, ...]]) -> None:
            game = await opened(lane, redis_url)
            for move in moves:
                await game.play(move)
            await game.check()

        games()
