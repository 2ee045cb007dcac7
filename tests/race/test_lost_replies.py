"""Replies get lost on the way back, again and again: as many units move as there were keys.

A proxy lets a round trip through, and breaks the connection instead of its reply; the next try may
end the same way. Whoever hears nothing at all sends the same key again. In the second test callers
are cancelled besides, in the middle of their call; some come back, some never do.

    HOLDFAST_TEST_LOST_REPLIES=10000 pytest -n 2 --dist load tests/race/test_lost_replies.py
"""

import asyncio
import contextlib
import hashlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gateway.errors import Unavailable
from gateway.lane import served
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.scripts import Script, load
from tests.proxy import Proxy, open_proxy
from tests.stall import Books, Stall, settings_for

LOST = int(os.environ.get("HOLDFAST_TEST_LOST_REPLIES", "100"))
AT_ONCE = 6
IN_A_ROW = 5
"""Most replies lost one after the other: more than one call is sent, so that callers repeat too."""
PATIENCE_S = 20


@dataclass
class Desk:
    """A stall behind a proxy, and who has asked there."""

    stall: Stall
    proxy: Proxy
    direct_url: str
    rng: random.Random
    keys: set[str] = field(default_factory=set)
    """Holds of everybody who asked for a unit."""
    answered: set[str] = field(default_factory=set)
    """Holds of everybody who got an answer."""
    given_back: set[str] = field(default_factory=set)

    async def wave(self, *, cancels: bool = False) -> None:
        """Some shoppers, while the next few replies get lost."""
        first = len(self.keys)
        names = [f"s{first + number}" for number in range(AT_ONCE)]
        self.keys |= {self.stall.hold_of(name, "k") for name in names}
        self.proxy.lose_replies(self.rng.randint(1, IN_A_ROW))
        calls = [asyncio.create_task(self._wants(name, self.rng.random())) for name in names]
        if cancels:
            for call in self.rng.sample(calls, AT_ONCE // 2):
                for _ in range(self.rng.randint(0, 12)):
                    await asyncio.sleep(0)
                call.cancel()
            comes_back = [name for name in names if self.rng.random() < 0.3]
            calls += [asyncio.create_task(self._wants(name, 1.0)) for name in comes_back]
        async with asyncio.timeout(PATIENCE_S):
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome

    async def _wants(self, name: str, luck: float) -> None:
        """Reserve a unit, until there is an answer; some then give it back."""
        hold = self.stall.hold_of(name, "k")
        while hold not in self.answered:
            with contextlib.suppress(Unavailable):
                assert (await self.stall.reserves(name, "k", ("tee", 1))).hold.id == hold
                self.answered.add(hold)
        while luck < 0.3 and hold not in self.given_back:
            with contextlib.suppress(Unavailable):
                await self.stall.holds.release(self.stall.shop, name, hold)
                self.given_back.add(hold)

    async def books(self) -> Books:
        """What moved, read at leisure and past the proxy."""
        at_leisure = {"redis_timeout_ms": 60_000, "redis_queue": 10_000_000}
        direct = settings_for(self.direct_url, self.stall.shop, **at_leisure)
        async with served(direct) as lane:
            books = await Stall(lane, direct).books()
        moved = Counter(entry.reference for entry in books.ledger if entry.kind == "held")
        assert set(moved.values()) == {1}, "a key moved its unit more than once"
        assert self.answered <= moved.keys() <= self.keys
        return books


@pytest.fixture
async def desk(valkey: EmbeddedValkey, shop: str) -> AsyncIterator[Desk]:
    async with open_proxy(valkey.port) as proxy:
        settings = settings_for(proxy.url, shop, redis_attempts=3)
        async with served(settings) as lane:
            stall = Stall(lane, settings)
            await stall.sells("tee", 100 * (LOST + AT_ONCE))
            yield Desk(stall, proxy, valkey.url, random.Random(LOST))


async def test_as_many_units_move_as_there_were_keys(desk: Desk) -> None:
    while desk.proxy.lost < LOST:
        await desk.wave()
    books = await desk.books()
    assert books.drifts() == []
    assert set(books.holds) == desk.keys == desk.answered
    assert books.stock["tee", "main"].held == len(desk.keys - desk.given_back)


async def test_callers_cancelled_in_the_middle_move_no_more(desk: Desk) -> None:
    while desk.proxy.lost < LOST:
        await desk.wave(cancels=True)
    books = await desk.books()
    assert books.drifts() == []
    assert desk.answered < desk.keys, "nobody was cancelled in time: this shows nothing"
    active = {hold for hold, facts in books.holds.items() if facts["state"] == b"active"}
    assert books.stock["tee", "main"].held == len(active)
    assert desk.answered - desk.given_back >= active & desk.answered


async def test_a_reserve_that_forgets_its_keys_is_found_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    text = load("hold_reserve").text
    before, found, after = text.rpartition("repeated(request, key)")
    assert found, "the check to take out has changed its wording"
    text = f"{before}false{after}"
    copy = Script("hold_reserve", text, hashlib.sha1(text.encode()).hexdigest())
    monkeypatch.setattr(
        "gateway.stock.reservations.load",
        lambda name: copy if name == "hold_reserve" else load(name),
    )
    for _ in range(3):
        await desk.wave()
    with pytest.raises(AssertionError, match="more than once"):
        await desk.books()
