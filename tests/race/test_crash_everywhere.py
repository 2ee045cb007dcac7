"""A crash at every await of settle: enumerated, not sampled.

A scenario is played once undisturbed, and its awaits are counted: every script, command and request
to Stripe. Then it is played again for each of them. The process dies there for good (nothing of it
runs on, no compensation either) when what it had asked for has taken effect and before it hears of
it. That the effect had *not* happened is the same as dying after the step before, so that only the
first await needs it. A sweep of another process takes over until there is nothing to do. Then
record, stream, units, Stripe and till must say the same: captured = committed = handed off, nothing
authorized is left, nothing given back.

By default each scenario is played for every third of the awaits that change anything, and the next
scenario for those between them. ``HOLDFAST_TEST_CRASHES=all`` plays it for all, and also has each
request outlive its process: it is on its way while the process dies, and arrives when the sweep
has been round once, or when all has come to rest.
"""

import contextlib
import functools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpx
import pytest

from gateway.errors import HoldfastError
from gateway.keys import StripeKeys
from gateway.orders.stream import START, OrderStream
from gateway.scripts import load
from gateway.stock.audit import audit
from tests.bank import CANCEL, CAPTURE, CREATE
from tests.depth import DEEP, deep
from tests.handoff import handoff, running
from tests.seams import (
    CARD,
    DECLINED,
    SECOND_STEP,
    Buyer,
    Effect,
    Gateway,
    Open,
    Street,
    T,
    comes_to_rest,
    ends_of,
    new_key_each_time,
    street,
)
from tests.stall import PRICE, moved

log = logging.getLogger(__name__)

pytestmark = deep

ALL = DEEP or os.environ.get("HOLDFAST_TEST_CRASHES") == "all"
EVERY = 3


class Died(BaseException):
    """The process is no more; nothing in it can catch this."""


class How(Enum):
    """What has become of the step at which it dies."""

    BEFORE = "it was not sent"
    AFTER = "it took effect, and nobody heard the answer"
    SOON = "it arrives when the sweep has been round"
    LATE = "it arrives when all has come to rest"


CREATES = "POST payment_intents"
READS = {"HGETALL", "SPUBLISH", "GET", "GET intent", "GET payment_intents"}
"""Steps that change nothing: when they arrive is all the same."""


class Mortal:
    """A seam at which its process dies, at one await; at none when that is 0."""

    def __init__(self, at: int = 0, how: How = How.AFTER) -> None:
        self.steps: list[str] = []
        self.at, self.how, self.dead = at, how, False
        self.on_its_way: Effect[Any] | None = None

    async def passes(self, step: str, effect: Effect[T]) -> T:
        if self.dead:
            raise Died
        self.steps.append(step)
        if len(self.steps) != self.at:
            return await effect()
        self.dead = True
        if self.how is How.AFTER:
            with contextlib.suppress(httpx.HTTPError, HoldfastError):
                await effect()
        elif self.how is not How.BEFORE:
            self.on_its_way = effect
        raise Died

    async def arrives(self, when: How) -> None:
        """What was on its way takes effect, if it was for now."""
        if self.on_its_way and self.how is when:
            with contextlib.suppress(httpx.HTTPError, HoldfastError):
                await self.on_its_way()


Point = tuple[int, str, How]
"""Which await it is, its step, and how the process dies there."""

Play = Callable[[Street, Gateway, Buyer], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """What the gateway that may die does, and what the world does to it."""

    name: str
    play: Play
    ends: frozenset[str] = frozenset({"sold"})
    """How it may end, wherever the gateway dies."""
    answer: str | None = None
    """What the shopper says when the bank still asks after the crash."""
    strict: dict[str, int] = field(default_factory=dict)
    """Settings of the gateway that dies, and of the first sweep: nothing may be captured then."""


NO_SALE = frozenset({"not sold"})
EITHER = frozenset({"sold", "not sold"})


async def _card(street: Street, gateway: Gateway, buyer: Buyer) -> None:
    await gateway.checks_out(buyer, CARD)


async def _without_replicas(street: Street, gateway: Gateway, buyer: Buyer) -> None:
    """They go away when the payment has begun."""
    await street.stall.begins(buyer.name, buyer.held)
    await gateway.settles(buyer)


async def _queued(street: Street, gateway: Gateway, buyer: Buyer) -> None:
    """The queue before Stripe stands still; it moves on while the payment sleeps in it."""
    keys = StripeKeys(street.settings.stripe_account)
    queue = keys.queue("create")

    async def wakes(seconds: float) -> None:
        await street.lane.command("HSET", queue, "paused_until", 0)

    gateway.rooms.payments.provider._turns.sleep = wakes
    script = load("stripe_pause")
    rate = street.settings.stripe_rate_per_s
    await street.lane.call(script, (queue,), (rate, 0.4, 60_000, 86_400_000, 60_000))
    try:
        await gateway.checks_out(buyer, CARD)
    finally:
        await street.lane.command("HSET", queue, "paused_until", 0)


async def _second_step(
    street: Street, gateway: Gateway, buyer: Buyer, *, outcome: str = "succeed"
) -> None:
    await gateway.checks_out(buyer, SECOND_STEP)
    await street.answers(buyer, outcome)
    await gateway.settles(buyer)


async def _another_card(street: Street, gateway: Gateway, buyer: Buyer) -> None:
    await gateway.checks_out(buyer, DECLINED)
    await gateway.checks_out(buyer, CARD)


async def _released(street: Street, gateway: Gateway, buyer: Buyer) -> None:
    await gateway.checks_out(buyer, SECOND_STEP)
    await street.stall.holds.release(street.stall.shop, buyer.name, buyer.held.hold.id)
    await gateway.settles(buyer)


async def _late(street: Street, gateway: Gateway, buyer: Buyer, *, taken: bool = False) -> None:
    """Approved after the hold has lapsed, while the units are there or gone."""
    await gateway.checks_out(buyer, SECOND_STEP)
    await street.lapses(buyer)
    if taken:
        (result,) = await street.stall.movements.apply(
            street.stall.shop, (moved(f"gone-{buyer.name}", buyer.sku, -2, kind="adjusted"),)
        )
        assert result.status == "applied"
    await street.answers(buyer, "succeed")
    await gateway.settles(buyer)


async def _faulty(
    street: Street, gateway: Gateway, buyer: Buyer, *, play: Play, **plan: Any
) -> None:
    """Stripe is out of order for a while."""
    await street.bank.fails(**plan)
    await play(street, gateway, buyer)
    await gateway.settles(buyer)


def _with(play: Play, **plan: Any) -> Play:
    return functools.partial(_faulty, play=play, **plan)


SHORT = {"hold_ttl_s": 30, "payment_budget_s": 40, "stripe_queue_s": 30, "decline_grace_s": 10}
LOST: dict[str, Any] = {"lose_reply_percent": 100, "times": 2}
"""One less than a request is tried: whoever asks hears it in the end."""
BROKEN: dict[str, Any] = {"error_500_percent": 100, "times": 1}
WITHOUT: dict[str, Any] = {**BROKEN, "error_500_effect": False}

SCENARIOS = [
    Scenario("card", _card),
    Scenario("queued", _queued),
    Scenario("second step", _second_step, answer="succeed"),
    Scenario("second step fails", functools.partial(_second_step, outcome="fail"), NO_SALE, "fail"),
    Scenario("another card", _another_card, EITHER),
    Scenario("released", _released, NO_SALE),
    Scenario("late", _late, EITHER),
    Scenario("late and gone", functools.partial(_late, taken=True), NO_SALE),
    Scenario("capture refused", _with(_card, capture_loses_percent=100, times=1), NO_SALE),
    Scenario("replicas", _without_replicas, strict={"wait_replicas": 1, "wait_timeout_ms": 5}),
    Scenario("create lost", _with(_card, endpoint=CREATE, **LOST)),
    Scenario("create broken", _with(_card, endpoint=CREATE, **BROKEN)),
    Scenario("create broken in vain", _with(_card, endpoint=CREATE, **WITHOUT), EITHER),
    Scenario("capture lost", _with(_card, endpoint=CAPTURE, **LOST)),
    Scenario("capture broken", _with(_card, endpoint=CAPTURE, **BROKEN)),
    Scenario("capture broken in vain", _with(_card, endpoint=CAPTURE, **WITHOUT)),
    Scenario("cancel lost", _with(_released, endpoint=CANCEL, **LOST), NO_SALE),
    Scenario("cancel broken", _with(_released, endpoint=CANCEL, **BROKEN), NO_SALE),
    Scenario("cancel broken in vain", _with(_released, endpoint=CANCEL, **WITHOUT), NO_SALE),
]


@dataclass
class Stage:
    """Where a scenario is played, again and again."""

    street: Street
    scenario: Scenario
    gateway: Gateway
    strict: Gateway
    sweep: Gateway
    number: int = 0

    async def plays(self, seam: Mortal) -> tuple[Buyer, str]:
        """One purchase, and how it ended."""
        self.number += 1
        buyer = await self.street.comes(f"b{self.number}")
        await self.street.bank.fails()
        self.gateway.starts(seam)
        with contextlib.suppress(Died):
            await self.scenario.play(self.street, self.gateway, buyer)
        assert seam.dead == bool(seam.at), "it is not the same from run to run"
        seam.dead = True
        await self._recovers(buyer, seam)
        return buyer, await ends_of(self.street, buyer)

    async def _recovers(self, buyer: Buyer, seam: Mortal) -> None:
        street, first = self.street, self.sweep
        if self.scenario.strict:
            first = self.strict
        await self._goes_round(first)
        if self.scenario.strict:
            statuses = {one["status"] for one in await street.bank.intents(buyer.order)}
            assert "succeeded" not in statuses, "captured although no replica had it"
        await seam.arrives(How.SOON)
        if self.scenario.answer:
            await street.answers(buyer, self.scenario.answer)
        await comes_to_rest(street, self.sweep)
        if seam.how is How.LATE and seam.on_its_way:
            await seam.arrives(How.LATE)
            # Stripe tells of whatever it has approved.
            for body in await street.bank.approvals(buyer.order):
                await self.sweep.hears(body)
            await comes_to_rest(street, self.sweep)

    async def _goes_round(self, sweep: Gateway) -> None:
        due = await self.street.next_due()
        if due is not None:
            await self.street.is_now(due)
            await sweep.sweeps()

    async def points(self) -> list[Point]:
        """Every place and way to die, by a run that is not disturbed."""
        undisturbed = Mortal()
        _, ended = await self.plays(undisturbed)
        assert ended in self.scenario.ends
        points = [(1, undisturbed.steps[0], How.BEFORE)]
        for at, step in enumerate(undisturbed.steps, start=1):
            points.append((at, step, How.AFTER))
            if ALL and step not in READS:
                points += [(at, step, How.SOON), (at, step, How.LATE)]
        return points


@pytest.fixture
async def scene(redis_url: str, shop: str) -> AsyncIterator[Street]:
    async with street(redis_url, shop, **SHORT) as scene:
        yield scene


async def _stage(scene: Street, scenario: Scenario) -> Stage:
    gateway = await scene.gateway(Open(), **scenario.strict)
    strict = await scene.gateway(Open(), **scenario.strict)
    return Stage(scene, scenario, gateway, strict, await scene.gateway())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_wherever_it_dies(scene: Street, scenario: Scenario) -> None:
    stage = await _stage(scene, scenario)
    points = _some(scenario, await stage.points())
    sold = await _captured(scene)
    wrong = []
    for at, step, how in points:
        told = f"dead at {at} ({step}): {how.value}"
        try:
            buyer, ended = await stage.plays(Mortal(at, how))
        except AssertionError as error:
            wrong.append(f"{told}: {str(error).splitlines()[0]}")
            continue
        if ended == "sold":
            sold.append(buyer.order)
        begun = how is How.AFTER or step != "pay_begin"
        if ended not in (scenario.ends if begun else NO_SALE):
            wrong.append(f"{told}: {ended}")
    log.info("%s: %d points", scenario.name, len(points))
    assert not wrong, "\n".join(wrong)
    await _adds_up(scene, sold)


def _some(scenario: Scenario, points: list[Point]) -> list[Point]:
    """All, or a third of those which are not the same as dying one await earlier."""
    if ALL:
        return points
    first = SCENARIOS.index(scenario) % EVERY
    return [point for point in points if point[1] not in READS][first::EVERY]


async def test_a_key_that_is_new_each_time_is_found_out(
    scene: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: whoever asks again for what a dead process has asked for, asks for another."""
    stage = await _stage(scene, SCENARIOS[0])
    points = await stage.points()
    new_key_each_time(monkeypatch)
    [at] = [at for at, step, how in points if (step, how) == (CREATES, How.AFTER)]
    with pytest.raises(AssertionError):
        await stage.plays(Mortal(at))


async def _captured(scene: Street) -> list[str]:
    page = await OrderStream(scene.lane, scene.stall.shop).page(START, 200)
    return [event.data.id for event in page.orders]


async def _adds_up(scene: Street, sold: list[str]) -> None:
    """Ledger = sandbox = stream = till."""
    shop = scene.stall.shop
    verdict = await audit(scene.lane, shop)
    assert verdict.drift == ()
    assert (verdict.committed_units, verdict.active_holds) == (len(sold), 0)
    summary = await scene.bank.summary()
    assert summary["captured"]["count"] == len(sold)
    assert sum(summary["captured"]["amount"].values()) == PRICE * len(sold)
    assert summary["open_authorizations"]["count"] == summary["refunds"]["count"] == 0
    assert await _captured(scene) == sold
    async with handoff(scene.lane, shop, scene.settings) as site:
        await site.lane.command("SADD", "hf:shops", shop)
        await site.book.put("till", site.webhook)
        async with running(site.relay()):
            await site.has(*sold)
            if sold:
                await site.settled()
