"""Clients race for one sku over two gateways; what they are told must be explained by some order.

They reserve, extend, give back, pay and look, several at once at the same holds. They send a call
through both gateways at once, hang up in the middle of it, and ask again with the same key; and
replies of Redis are lost on their way, so that a gateway sends again what was done already. Who
does what is drawn from a seed; who comes first is not.

By default three histories of 400 calls are played; ``HOLDFAST_TEST_HISTORIES=200`` plays two
hundred, and ``HOLDFAST_TEST_HISTORIES=7,`` that of seed 7:

    HOLDFAST_TEST_HISTORIES=200 .venv/bin/pytest -n 0 tests/race/test_linearizability.py
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.checkout.records import CommitEnded, CommitRefused
from gateway.clock import parse_rfc3339
from gateway.errors import HoldfastError, Overloaded, Unavailable
from gateway.lane import served
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.scripts import Script, load
from gateway.stock.holds import Held
from tests.depth import deep, seeds
from tests.linearizable import Operation, Recorder, Verdict, check
from tests.one_sku import (
    Answer,
    Begin,
    Call,
    Commit,
    Extend,
    Find,
    Look,
    OneSku,
    Release,
    Reserve,
    Shelf,
)
from tests.proxy import Proxy, open_proxy
from tests.stall import PRICE, Stall, checkout, settings_for

pytestmark = deep

log = logging.getLogger(__name__)

History = list[Operation[Call, Answer]]

DEFAULT, MANY = 3, 50
CALLS = 400
CLIENTS = 6
CALLS_A_ROUND = 3
"""Calls one client makes before all wait for one another, so that windows stay small."""
KINDS: tuple[type[Call], ...] = (Reserve, Release, Extend, Begin, Commit, Find, Look)
ROUNDS = (
    (70, 5, 5, 10, 0, 0, 10),
    (30, 10, 10, 35, 5, 5, 5),
    (15, 5, 15, 15, 40, 5, 5),
    (10, 5, 10, 5, 30, 30, 10),
)
"""How often which kind of call is made, round after round; then other shoppers come."""
OTHER_UNITS = 0.04
"""How often a key comes with another number of units than is its own."""
SHOPPERS = 3
KEYS = 4
UNITS = 40
RULES = OneSku(limit=6, most_holds=3)
TROUBLE = 0.25
"""How often a round begins with replies being lost on the way to one gateway."""
CALL_MS = 10_000
"""Patience with Redis: a gateway repeats itself for lost replies only."""
HEARD = {
    *("active", "released", "committed", "sold_out", "limit_exceeded", "idempotency_key_reused"),
    *("hold_already_released", "not_found", "no_order", "ordered", "sold", "unknown", "repeated"),
}
"""What is said in every few histories, unless they have become too tame."""


@dataclass
class Gateway:
    """A gateway, and the network between it and Redis."""

    stall: Stall
    proxy: Proxy
    troubled: bool = False
    """Replies are being lost."""

    async def answer(self, call: Call) -> Answer:
        """Make a call, and put what a client hears into the words of the model.

        Raises:
            Unavailable, Overloaded: nobody knows whether anything was done.
        """
        try:
            return await self._ask(call)
        except (Unavailable, Overloaded):
            raise
        except CommitRefused:
            return Answer("refused")
        except CommitEnded:
            return Answer("over")
        except HoldfastError as no:
            number = no.facts.get("available", no.facts.get("limit", 0))
            assert isinstance(number, int)
            return Answer(no.code, number=number)

    async def _ask(self, call: Call) -> Answer:
        if isinstance(call, Look):
            return Answer("left", number=(await self.stall.available())["tee"])
        stall, shop, shopper = self.stall, self.stall.shop, call.shopper
        hold, order = stall.hold_of(shopper, call.key), stall.order_of(shopper, call.key)
        match call:
            case Reserve():
                return _held(await stall.reserves(shopper, call.key, ("tee", call.units)))
            case Release():
                return _held(await stall.holds.release(shop, shopper, hold))
            case Extend():
                return _held(await stall.holds.extend(shop, shopper, hold))
            case Begin():
                await stall.records.begin(shop, shopper, checkout(hold, call.units * PRICE))
                return Answer("ordered")
        record = await stall.records.find(shop, order)
        if record is None:
            return Answer("no_order")
        if isinstance(call, Commit):
            await stall.commits(record)
            return Answer("sold")
        ((first, count),) = [unit[2:] for unit in record.units] or [(0, 0)]
        return Answer(record.phase, count, first)


def _held(held: Held) -> Answer:
    units = sum(line.quantity for line in held.hold.lines)
    return Answer(held.hold.state, units, deadline=parse_rfc3339(held.hold.expires_at))


@contextlib.asynccontextmanager
async def two_gateways(port: int) -> AsyncIterator[list[Gateway]]:
    """Two gateways of a shop of its own, where nothing has been sold yet."""
    shop = f"shop_{uuid.uuid4().hex}"
    async with contextlib.AsyncExitStack() as stack:
        gateways = []
        for _ in range(2):
            proxy = await stack.enter_async_context(open_proxy(port))
            settings = settings_for(
                proxy.url, shop, redis_timeout_ms=CALL_MS, holds_per_shopper=RULES.most_holds
            )
            lane = await stack.enter_async_context(served(settings))
            gateways.append(Gateway(Stall(lane, settings), proxy))
        await gateways[0].stall.sells("tee", UNITS, limit=RULES.limit)
        yield gateways


@dataclass
class Game:
    """One history in the making."""

    gateways: list[Gateway]
    rng: random.Random
    recorder: Recorder[Call, Answer]
    number: int = 0
    """Of the round."""

    async def play(self) -> History:
        while len(self.recorder.history) < CALLS:
            asked_from = len(self.recorder.history)
            for _ in ROUNDS:
                await self._round()
                self.number += 1
            await self._ask_again(self.recorder.history[asked_from:])
        return self.recorder.history

    async def _ask_again(self, history: History) -> None:
        """Who never heard what became of a call wants to know before leaving.

        Else every one of them stays a maybe, and the search has to keep all their combinations.
        """
        for call, client in {one.call: one.client for one in history if not one.answer}.items():
            await self._send(client, self.gateways[0], call)

    async def _round(self) -> None:
        """Everybody at once; the network of one gateway may be in trouble meanwhile."""
        if self.rng.random() < TROUBLE:
            gateway = self.rng.choice(self.gateways)
            gateway.troubled = True
            gateway.proxy.lose_replies(self.rng.randint(1, 3))
        # Each draws by itself, so that what is done does not depend on who is faster.
        clients = [(f"c{n}", random.Random(self.rng.random())) for n in range(CLIENTS)]
        await asyncio.gather(*(self._client(name, rng) for name, rng in clients))
        for gateway in self.gateways:
            gateway.troubled = False
            gateway.proxy.heal()

    async def _client(self, name: str, rng: random.Random) -> None:
        for _ in range(CALLS_A_ROUND):
            call = self._draw(rng)
            first, second = rng.sample(self.gateways, 2)
            match rng.choices(("plain", "twice", "hangs up"), (80, 10, 10)):
                case ["twice"]:
                    both = (self._send(name, gateway, call) for gateway in (first, second))
                    await asyncio.gather(*both)
                case ["hangs up"]:
                    await self._hangs_up(name, first, call, rng.choice((0, 0, 0.0005, 0.001)))
                    await self._send(name, second, call)
                case _:
                    for gateway in (first, second, first):
                        if await self._send(name, gateway, call):
                            break

    def _draw(self, rng: random.Random) -> Call:
        cast, at = divmod(self.number, len(ROUNDS))
        name = rng.randrange(SHOPPERS * KEYS)
        shopper, key, units = f"s{cast}-{name % SHOPPERS}", f"k{name // SHOPPERS}", 1 + name % 3
        (kind,) = rng.choices(KINDS, ROUNDS[at])
        if issubclass(kind, Look):
            return Look()
        if issubclass(kind, Reserve | Begin):
            return kind(shopper, key, units + (rng.random() < OTHER_UNITS))
        return kind(shopper, key)

    async def _send(self, client: str, gateway: Gateway, call: Call) -> bool:
        """Make a call; ``False`` when nobody knows what became of it."""
        work = gateway.answer(call)
        try:
            await self.recorder.record(client, call, work, repeated=gateway.troubled)
        except (Unavailable, Overloaded):
            return False
        return True

    async def _hangs_up(self, client: str, gateway: Gateway, call: Call, after_s: float) -> None:
        sending = asyncio.create_task(self._send(client, gateway, call))
        await asyncio.sleep(after_s)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def played(port: int, seed: int) -> tuple[History, Verdict]:
    """Play one history in a shop of its own, and judge it."""
    async with two_gateways(port) as gateways:
        game = Game(gateways, random.Random(seed), Recorder(time.monotonic_ns))
        history = await game.play()
    return history, check(RULES, Shelf(UNITS), history)


def sold(history: History) -> dict[tuple[str, str], set[int]]:
    """The unit numbers each hold was seen to have got."""
    return {
        (one.call.shopper, one.call.key): set(
            range(one.answer.number, one.answer.number + one.answer.units)
        )
        for one in history
        if isinstance(one.call, Find) and one.answer and one.answer.units
    }


async def test_every_answer_can_be_explained_by_one_order(valkey: EmbeddedValkey) -> None:
    told: Counter[str] = Counter()
    chosen = seeds("HISTORIES", DEFAULT, MANY)
    for seed in chosen:
        history, verdict = await played(valkey.port, seed)
        log.info("seed %d: %s", seed, verdict)
        assert not verdict.wrong, f"seed {seed}: {verdict.wrong}"
        assert not verdict.undecided, f"seed {seed}: {verdict.undecided}"
        numbers = Counter(itertools.chain(*sold(history).values()))
        assert set(numbers) <= set(range(1, UNITS + 1))
        assert set(numbers.values()) <= {1}
        told.update(one.answer.word if one.answer else "unknown" for one in history)
        told["repeated"] += sum(one.repeated for one in history)
    log.info("%s", told)
    if len(chosen) >= DEFAULT:
        assert set(told) >= HEARD, f"never heard: {HEARD - set(told)}"


@dataclass(frozen=True)
class Planted:
    """A script with a mistake, and the module that loads it."""

    module: str
    script: str
    changes: tuple[tuple[str, str], ...]


PLANTED = {
    "a reservation that comes again is a new one": Planted(
        "gateway.stock.reservations",
        "hold_reserve",
        (("repeated(request, key) or", ""),),
    ),
    "a commit that comes again is refused": Planted(
        "gateway.checkout.records", "hold_commit", (("if sold then", "if false then"),)
    ),
    "a commit that comes again is a sale again": Planted(
        "gateway.checkout.records",
        "hold_commit",
        (
            ("if sold then", "if false then"),
            ("if not settling or", "if not (sold or settling) or"),
            ("hold[1] ~= 'active'", "not sold and hold[1] ~= 'active'"),
        ),
    ),
    "a unit number is given twice": Planted(
        "gateway.checkout.records",
        "hold_commit",
        (("row[6] = row[6] + line.quantity", "row[6] = row[6] + line.quantity - 1"),),
    ),
    "one unit too many is on sale": Planted(
        "gateway.stock.reservations",
        "hold_reserve",
        (("row[2] - row[3] - row[4] - row[5])", "row[2] - row[3] - row[4] - row[5] + 1)"),),
    ),
    "a release that comes again gives back again": Planted(
        "gateway.stock.holds",
        "hold_release",
        (("if hold[2] == 'released'", "if false"), ("hold[2] ~= 'active'", "false")),
    ),
    "an extension is told and not kept": Planted(
        "gateway.stock.holds",
        "hold_extend",
        (("'expires_at', string.format('%.0f', deadline))", "'expires_at', hold[6])"),),
    ),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
async def test_a_planted_mistake_is_found(
    valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, planted: Planted
) -> None:
    """The control: each of these is found within the histories that are played by default."""
    text = load(planted.script).text
    for before, after in planted.changes:
        assert before in text, "what is to be changed has changed its wording"
        text = text.replace(before, after)
    copy = Script(planted.script, text, hashlib.sha1(text.encode()).hexdigest())
    monkeypatch.setattr(
        f"{planted.module}.load", lambda name: copy if name == planted.script else load(name)
    )
    for seed in range(DEFAULT):
        _, verdict = await played(valkey.port, seed)
        if verdict.wrong:
            log.info("seed %d: %s", seed, verdict.wrong)
            return
    raise AssertionError("no history noticed: they prove nothing")
