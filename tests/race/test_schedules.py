"""A client's completion against three copies of the webhook, in many orders: always one sale.

Four gateways settle one order at once. Each stands before every script and every request to Stripe
until a scheduler lets it go, so that a schedule is a list of choices and can be played again. A
failure names its seed and the schedule.

By default 12 schedules are drawn, and half of the orders one after the other are played.
``HOLDFAST_TEST_SCHEDULES=1000`` draws a thousand, and ``HOLDFAST_TEST_SCHEDULES=7,`` plays the one
of seed 7; ``HOLDFAST_TEST_DEEP=yes`` draws a thousand and plays all orders.
"""

import functools
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

import pytest

from gateway.checkout import desk, webhook
from tests.actors import Actor
from tests.depth import DEEP, deep, only_deep, seeds
from tests.seams import (
    CARD,
    SECOND_STEP,
    Buyer,
    Gateway,
    Open,
    Street,
    ends_of,
    new_key_each_time,
    street,
)

pytestmark = deep

log = logging.getLogger(__name__)

Choose = Callable[[list[int]], int]
"""Picks one of those who have something left to do."""

COPIES = 3
PATIENCE_S = 60.0
"""Nobody gives up waiting while others are let go first."""
FEW, MANY = 12, 1_000
AUTHORIZES = "POST payment_intents"
EFFECTS = {AUTHORIZES, "hold_commit", "POST capture", "order_move"}
LONGEST_BURST = 12


@dataclass
class Counter:
    """A shop counter: the client's gateway, and one for each copy of the webhook."""

    street: Street
    gateways: list[Gateway]
    number: int = 0

    async def race(
        self, token: str, choose: Choose, *, copies: int = COPIES, coarse: bool = False
    ) -> tuple[str, str]:
        """One purchase; ``choose`` says which of those who are there goes on.

        ``coarse``: whoever goes on does so until before its next step that changes anything.
        Returns how it ended, and the schedule.
        """
        self.number += 1
        buyer, client = await self.street.comes(f"b{self.number}", units=1), self.gateways[0]
        approved = token == SECOND_STEP
        if approved:
            await client.checks_out(buyer, token)
            await self.street.answers(buyer, "succeed")
        else:
            await client.begins(buyer, token)
        actors = [Actor(client, functools.partial(client.settles_at_its_desk, buyer))]
        await actors[0].moves()
        schedule = []
        while True:
            if len(actors) == 1 and (approved or AUTHORIZES in actors[0].steps[:-1]):
                actors += await self._copies(buyer, copies)
            there = [n for n, actor in enumerate(actors) if not actor.done]
            if not there:
                break
            one = choose(there)
            schedule.append(f"{one}:{actors[one].steps[-1]}")
            await actors[one].moves()
            while coarse and not actors[one].done and actors[one].steps[-1] not in EFFECTS:
                await actors[one].moves()
        return await self._outcome(buyer), " ".join(schedule)

    async def _copies(self, buyer: Buyer, copies: int) -> list[Actor]:
        """Stripe tells of an approval as soon as there is one, and several times."""
        body = (await self.street.bank.approvals(buyer.order))[0]
        hearing = [
            Actor(gateway, functools.partial(gateway.hears, body))
            for gateway in self.gateways[1 : 1 + copies]
        ]
        for actor in hearing:
            await actor.moves()
        return hearing

    async def _outcome(self, buyer: Buyer) -> str:
        """``sold``, by one intent and one commit; or what there is instead."""
        for gateway in self.gateways:
            gateway.starts(Open())
        try:
            ended = await ends_of(self.street, buyer)
        except AssertionError as wrong:
            return str(wrong)
        intents = len(await self.street.bank.intents(buyer.order))
        commits = await self.street.commits(buyer)
        return ended if (intents, commits) == (1, 1) else f"{intents} intents, {commits} commits"


@pytest.fixture
async def counter(
    redis_url: str, shop: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Counter]:
    monkeypatch.setattr(webhook, "SETTLE_WITHIN_S", PATIENCE_S)
    monkeypatch.setattr(desk, "_PATIENCE_S", PATIENCE_S)
    async with street(redis_url, shop) as scene:
        yield Counter(scene, [await scene.gateway() for _ in range(1 + COPIES)])


def drawn(seed: int) -> Choose:
    """Anybody next; or one for a while, so that the others are late."""
    rng = random.Random(seed)
    burst = seed % 3
    favourite, left = 0, 0

    def choose(there: list[int]) -> int:
        nonlocal favourite, left
        if burst and (left <= 0 or favourite not in there):
            favourite, left = rng.choice(there), rng.randint(1, LONGEST_BURST)
        left -= 1
        return favourite if burst else rng.choice(there)

    return choose


async def test_seeded_schedules(counter: Counter) -> None:
    different, played = set(), seeds("SCHEDULES", FEW, MANY)
    for seed in played:
        token = (CARD, SECOND_STEP)[seed % 2]
        ended, schedule = await counter.race(token, drawn(seed))
        different.add(schedule)
        assert ended == "sold", f"seed {seed}: {ended}: {schedule}"
    log.info("%d schedules, %d different", len(played), len(different))


def in_order(order: Iterable[int]) -> Choose:
    """One after the other."""
    places = list(order)
    return lambda there: min(there, key=places.index)


@pytest.mark.parametrize("token", [CARD, SECOND_STEP])
async def test_one_after_the_other_in_every_order(counter: Counter, token: str) -> None:
    orders = list(itertools.permutations(range(1 + COPIES)))
    # The other half of the orders belongs to the other way to pay.
    for order in orders if DEEP else orders[token == CARD :: 2]:
        ended, schedule = await counter.race(token, in_order(order))
        assert ended == "sold", f"order {order}: {ended}: {schedule}"


@dataclass
class Way:
    """One schedule: the choices to begin with, then always the first. It notes what it took."""

    choices: list[int] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)

    def choose(self, there: list[int]) -> int:
        at = len(self.taken)
        pick = self.choices[at] if at < len(self.choices) else 0
        self.taken.append((pick, len(there)))
        return there[pick]

    def next(self) -> "Way | None":
        """The schedule that differs as late as possible; ``None`` after the last."""
        while self.taken and self.taken[-1][0] + 1 == self.taken[-1][1]:
            self.taken.pop()
        choices = [pick for pick, _ in self.taken]
        return Way([*choices[:-1], choices[-1] + 1]) if choices else None


@only_deep
async def test_every_way_a_client_and_a_webhook_can_meet(counter: Counter) -> None:
    """Not drawn but enumerated: all orders of all their steps that change anything."""
    ways = 0
    way: Way | None = Way()
    while way is not None:
        ended, schedule = await counter.race(SECOND_STEP, way.choose, copies=1, coarse=True)
        assert ended == "sold", f"{ended}: {schedule}"
        ways, way = ways + 1, way.next()
    log.info("%d ways", ways)
    assert ways > 20


async def test_a_key_that_is_new_each_time_is_found_out(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without keys that are the same whoever asks, some schedule goes wrong."""
    new_key_each_time(monkeypatch)
    for seed in range(0, 40, 2):
        ended, _ = await counter.race(CARD, drawn(seed))
        if ended != "sold":
            log.info("seed %d: %s", seed, ended)
            return
    raise AssertionError("no schedule noticed: they prove nothing")
