"""Events about orders nobody knows: parked, looked at again, and dropped when Stripe would, too."""

import itertools
import uuid
from dataclasses import dataclass, field

import msgspec
import pytest

from gateway.checkout import unknown
from gateway.checkout.unknown import KEPT_MS, About, UnknownEvents
from gateway.clock import SystemClock
from gateway.errors import NotFound, Unavailable
from gateway.keys import unknown_events
from gateway.lane import Lane
from gateway.settings import Settings

SECOND, HOUR = 1_000, 3_600_000
NOW = 1_700_000_000_000


class Clock(SystemClock):
    """Stands still until told."""

    ms = NOW

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Taker:
    """Whoever is handed events, and knows some orders."""

    known: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def __call__(self, about: About) -> None:
        self.taken.append(about.order)
        if self.error:
            raise self.error
        if about.order not in self.known:
            raise NotFound("There is no such order.")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def parked(lane: Lane, settings: Settings, clock: Clock) -> UnknownEvents:
    key = f"sk_test_{uuid.uuid4().hex}"
    return UnknownEvents(lane, clock, msgspec.structs.replace(settings, environment=key))


def about(order: str = "o_1", made_ago_ms: int = 0) -> About:
    return About("a_shop", order, "pi_1", NOW - made_ago_ms)


async def count(parked: UnknownEvents) -> int:
    key = unknown_events(parked.settings.environment)
    return int(await parked.lane.command("ZCARD", key))


async def test_an_event_is_handed_over_once_its_order_is_known(
    parked: UnknownEvents, clock: Clock
) -> None:
    taker = Taker()
    await parked.keep(about())
    assert await parked.retry(taker) == 0
    assert taker.taken == []
    clock.ms += 10 * SECOND
    assert await parked.retry(taker) == 0
    assert taker.taken == ["o_1"]
    taker.known.add("o_1")
    assert await parked.retry(taker) == 0
    clock.ms += 10 * SECOND
    assert await parked.retry(taker) == 1
    assert taker.taken == ["o_1", "o_1"]
    assert await count(parked) == 0
    clock.ms += HOUR
    assert await parked.retry(taker) == 0


async def test_copies_are_one_entry(parked: UnknownEvents) -> None:
    for _ in range(10):
        await parked.keep(about())
    await parked.keep(about("o_2"))
    assert await count(parked) == 2


async def test_a_copy_does_not_put_the_next_look_off(parked: UnknownEvents, clock: Clock) -> None:
    taker = Taker({"o_1"})
    await parked.keep(about())
    for _ in range(9):
        clock.ms += SECOND
        await parked.keep(about())
    clock.ms += SECOND
    assert await parked.retry(taker) == 1


async def test_looks_grow_rarer_and_end_after_three_days(
    parked: UnknownEvents, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[int] = []

    async def take(_: About) -> None:
        looks.append(clock.ms - NOW)
        raise NotFound("There is no such order.")

    await parked.keep(about())
    while await count(parked):
        clock.ms += 5 * SECOND if clock.ms < NOW + 60 * SECOND else 60 * SECOND
        await parked.retry(take)
    pauses = [after - before for before, after in itertools.pairwise(looks)]
    assert pauses[0] == 10 * SECOND
    assert max(pauses) <= HOUR + 60 * SECOND
    assert pauses[-1] >= HOUR
    assert KEPT_MS <= looks[-1] <= KEPT_MS + HOUR + 60 * SECOND
    assert len(looks) < 100
    assert "o_1 stayed unknown" in caplog.text


async def test_what_cannot_be_settled_now_is_kept(
    parked: UnknownEvents, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    taker = Taker(error=Unavailable("Stripe does not answer."))
    await parked.keep(about(made_ago_ms=KEPT_MS + HOUR))
    clock.ms += 2 * HOUR
    assert await parked.retry(taker) == 0
    assert await count(parked) == 1
    assert "o_1: unavailable" in caplog.text


async def test_a_defect_keeps_the_event(parked: UnknownEvents, clock: Clock) -> None:
    await parked.keep(about())
    clock.ms += HOUR
    assert await parked.retry(Taker(error=RuntimeError("a defect"))) == 0
    assert await count(parked) == 1
    assert await parked.retry(Taker({"o_1"})) == 0  # Put off before it was tried.


async def test_an_entry_that_cannot_be_read_is_dropped_and_the_others_go_on(
    parked: UnknownEvents, caplog: pytest.LogCaptureFixture
) -> None:
    key = unknown_events(parked.settings.environment)
    await parked.lane.command("ZADD", key, 0, b"\xff{", 1, b'{"shop":"a_shop"}')
    await parked.lane.command("ZADD", key, 2, msgspec.json.encode(about("o_1")))
    taker = Taker(known={"o_1"})
    assert await parked.retry(taker) == 1
    assert taker.taken == ["o_1"]
    assert await count(parked) == 0
    assert "cannot be read" in caplog.text


async def test_there_is_an_end_to_what_is_kept(
    parked: UnknownEvents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unknown, "_MOST", 3)
    for number in range(5):
        await parked.keep(about(f"o_{number}"))
    assert await count(parked) == 3
    assert caplog.text.count("too many unknown orders") == 2


async def test_one_round_takes_so_many_and_the_oldest_first(
    parked: UnknownEvents, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown, "_AT_ONCE", 3)
    for number in range(5):
        await parked.keep(about(f"o_{number}"))
        clock.ms += 1
    clock.ms += HOUR
    taker = Taker({f"o_{number}" for number in range(5)})
    assert await parked.retry(taker) == 3
    assert taker.taken == ["o_0", "o_1", "o_2"]
    assert await parked.retry(taker) == 2
    assert taker.taken[3:] == ["o_3", "o_4"]


async def test_two_sweeps_do_not_bring_back_what_one_has_settled(
    parked: UnknownEvents, clock: Clock
) -> None:
    await parked.keep(about())
    clock.ms += HOUR

    async def meanwhile(_: About) -> None:
        """The other sweep looks while this one settles."""
        assert await parked.retry(Taker({"o_1"})) == 0

    assert await parked.retry(meanwhile) == 1
    assert await count(parked) == 0


async def test_environments_do_not_mix(parked: UnknownEvents, settings: Settings) -> None:
    elsewhere = msgspec.structs.replace(settings, environment=uuid.uuid4().hex)
    other = UnknownEvents(parked.lane, parked.clock, elsewhere)
    await parked.keep(about())
    assert await count(other) == 0
