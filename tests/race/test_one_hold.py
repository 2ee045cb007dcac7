"""Many at one hold, or one shopper many times: one hold, its limit kept, resolved exactly once.

The controls race over copies of the scripts that lack one check; the books must then not balance,
or the races prove nothing.
"""

import asyncio
import contextlib
import hashlib
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import pytest

from gateway.checkout.records import CommitEnded, CommitRefused
from gateway.errors import HoldfastError
from gateway.lane import served
from gateway.scripts import Script, load
from gateway.stock.sweeper import expire_due
from tests.race.conftest import Race
from tests.stall import Stall

log = logging.getLogger(__name__)

SOCKETS = 50
HOLDS = 60
TURNS = 5
WAYS = 3
SCRAMBLE_S = 0.5
GATEWAYS = 3
"""Connections to Redis that race; within one, what gathers is decided in order."""


async def test_one_key_from_fifty_sockets_is_one_hold(race: Race) -> None:
    await race.stall.sells("tee", 100)
    async with contextlib.AsyncExitStack() as stack:
        sockets = await race.let_in(stack, SOCKETS, name="ann")
        line = {"sku": "tee", "quantity": 2}
        answers = await asyncio.gather(
            *(socket.ask("reserve", key="k1", lines=[line]) for socket in sockets)
        )
    assert {answer["type"] for answer in answers} == {"hold"}
    assert len({answer["hold"]["id"] for answer in answers}) == 1
    assert await race.stall.available() == {"tee": 98}
    assert (await race.stall.books()).drifts() == []


async def test_the_limit_holds_across_sockets_and_keys(race: Race) -> None:
    await race.stall.sells("tee", 100, limit=5)
    async with contextlib.AsyncExitStack() as stack:
        sockets = await race.let_in(stack, 20, name="ann")
        line = {"sku": "tee", "quantity": 1}
        answers = await asyncio.gather(
            *(
                socket.ask("reserve", key=f"k{number}", lines=[line])
                for number, socket in enumerate(sockets)
            )
        )
    told = Counter(answer.get("code", answer["type"]) for answer in answers)
    assert told == {"hold": 5, "limit_exceeded": 15}
    assert await race.stall.available() == {"tee": 95}


@contextlib.asynccontextmanager
async def gateways_of(stall: Stall) -> AsyncIterator[list[Stall]]:
    """Several gateways of one shop, as far as the scripts are concerned."""
    async with contextlib.AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(served(stall.settings)) for _ in range(GATEWAYS)]
        yield [Stall(lane, stall.settings) for lane in lanes]


async def _everything_at_once(stall: Stall, turn: int = 0) -> None:
    """Reserve each hold on every gateway; then release, commit and expire it on every gateway."""
    rng = random.Random(7 + turn)
    if not turn:
        await stall.sells("tee", 5 * HOLDS * TURNS)
    async with gateways_of(stall) as gateways:
        reserving = (
            g.reserves(f"s{n}", f"k{turn}", ("tee", 1)) for n in range(HOLDS) for g in gateways
        )
        held = (await asyncio.gather(*reserving))[::GATEWAYS]
        records = [await stall.pays(f"s{n}", one) for n, one in enumerate(held)]

        async def at_some_moment(work: Awaitable[object]) -> None:
            await asyncio.sleep(rng.uniform(0, SCRAMBLE_S))
            # Any answer will do; it is the books that must be right.
            with contextlib.suppress(HoldfastError, CommitEnded, CommitRefused):
                await work

        ways: list[Awaitable[object]] = []
        for record in records:
            ways.append(stall.lapses(record.hold, record.shopper))
            ways += (g.holds.release(g.shop, record.shopper, record.hold) for g in gateways)
            ways += (g.commits(record) for g in gateways)
            ways += (expire_due(g.lane, g.settings, g.shop) for g in gateways)
        await asyncio.gather(*map(at_some_moment, ways))


async def test_a_hold_is_resolved_exactly_once_whoever_comes_first(stall: Stall) -> None:
    states: Counter[bytes] = Counter()
    for turn in range(TURNS):
        await _everything_at_once(stall, turn)
        books = await stall.books()
        assert books.drifts() == []
        states = Counter(facts["state"] for facts in books.holds.values())
        assert states.total() == HOLDS * (turn + 1)
        log.info("who came first: %s", dict(states))
        if len(states) == WAYS:
            break  # On a busy machine one way may never be first in a whole turn.
    assert set(states) == {b"released", b"committed", b"expired"}, "one way never came first"
    row = books.stock["tee", "main"]
    assert (row.held, row.committed) == (0, states[b"committed"])


@dataclass(frozen=True)
class Broken:
    """A script without some of its checks, and the module that loads it."""

    module: str
    script: str
    checks: tuple[str, ...]


BROKEN = [
    Broken("gateway.stock.reservations", "hold_reserve", ("repeated(request, key)",)),
    Broken("gateway.stock.holds", "hold_release", ("hold[2] ~= 'active'",)),
    Broken("gateway.stock.sweeper", "hold_expire", ("hold[1] ~= 'active'",)),
    Broken(
        "gateway.checkout.records",
        "hold_commit",
        ("not settling or order[2] ~= ARGV[2]", "hold[1] ~= 'active'"),
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.script)
async def test_a_script_without_its_check_is_found_out(
    stall: Stall, monkeypatch: pytest.MonkeyPatch, broken: Broken
) -> None:
    text = load(broken.script).text
    for check in broken.checks:
        before, found, after = text.rpartition(check)
        assert found, "the check to take out has changed its wording"
        text = f"{before}false{after}"
    copy = Script(broken.script, text, hashlib.sha1(text.encode()).hexdigest())
    monkeypatch.setattr(
        f"{broken.module}.load", lambda name: copy if name == broken.script else load(name)
    )
    for turn in range(TURNS):  # On a busy machine the gateways may take turns in one of them.
        await _everything_at_once(stall, turn)
        if (await stall.books()).drifts():
            return
    pytest.fail("the race did not notice: it proves nothing")
