"""What the physical world reports, through the script and back."""

import asyncio

import msgspec
import pytest

from gateway.errors import Invalid, Unavailable
from gateway.lane import Lane, served
from gateway.model import Movement, MovementKind
from gateway.settings import Settings
from gateway.stock.movements import MAX_BATCH, MovementResult, Movements
from tests.stall import Stall, moved


@pytest.fixture
def stall(lane: Lane, settings: Settings) -> Stall:
    return Stall(lane, settings)


async def report(stall: Stall, *movements: Movement) -> list[tuple[str, int | None]]:
    """The outcome of each: its status or code, and what the sku then has."""
    results = await stall.movements.apply(stall.shop, movements)
    return [(result.code or result.status, result.available) for result in results]


def at(
    second: int, reference: str, units: int, kind: MovementKind, location: str = "main"
) -> Movement:
    time = f"2026-11-21T20:00:{second:02}.000Z"
    return moved(reference, "tee", units, kind=kind, at=time, location=location)


async def sold(stall: Stall, units: int) -> None:
    """So many units are committed and not handed over."""
    held = await stall.reserves("ann", "sold", ("tee", units))
    await stall.commits(await stall.pays("ann", held))


async def test_a_movement_counts_once(stall: Stall) -> None:
    received = moved("r1", "tee", 5)
    assert await report(stall, received) == [("applied", 5)]
    assert await report(stall, received) == [("duplicate", 5)]
    assert await report(stall, moved("r1", "tee", 6)) == [("idempotency_key_reused", 5)]
    assert await stall.available() == {"tee": 5}


async def test_the_same_movement_from_many_at_once_counts_once(stall: Stall) -> None:
    received = moved("r1", "tee", 5)
    outcomes = await asyncio.gather(*(report(stall, received) for _ in range(20)))
    assert sorted(status for [(status, _)] in outcomes) == ["applied"] + ["duplicate"] * 19
    assert await stall.available() == {"tee": 5}


async def test_a_count_says_what_is_there_and_has_seen_what_came_before(stall: Stall) -> None:
    assert await report(
        stall,
        at(10, "r1", 5, "received"),
        at(30, "r2", 4, "counted"),
        at(20, "r3", -1, "adjusted"),
        at(30, "r4", -1, "adjusted"),
        at(31, "r5", -1, "adjusted"),
        at(25, "r6", 9, "counted"),
    ) == [
        ("applied", 5),
        ("applied", 4),
        ("superseded", 4),
        ("superseded", 4),
        ("applied", 3),
        ("superseded", 3),
    ]
    assert await report(stall, at(20, "r3", -1, "adjusted")) == [("superseded", 3)]


async def test_a_count_by_a_clock_that_is_ahead_takes_nothing_away_that_is_yet_to_happen(
    stall: Stall,
) -> None:
    ahead = moved("r1", "tee", 5, kind="counted", at="9999-12-31T23:59:59.999Z")
    assert await report(stall, ahead) == [("applied", 5)]
    soon = moved("r2", "tee", -1, kind="adjusted", at="2999-01-01T00:00:00.000Z")
    assert await report(stall, soon) == [("applied", 4)]
    assert [line.on_hand for line in await stall.movements.lines(stall.shop)] == [4]


async def test_a_shortfall_in_one_place_is_reported_and_hides_nothing_elsewhere(
    stall: Stall,
) -> None:
    await stall.sells("tee", 5)
    await report(stall, moved("r1", "tee", 3, location="store"))
    await stall.reserves("ann", "k1", ("tee", 4))
    assert await report(stall, at(1, "r2", 1, "counted")) == [("applied", 0)]
    main, store = await stall.movements.lines(stall.shop)
    assert (main.available, main.shortfall) == (-3, 3)
    assert (store.available, store.shortfall) == (3, 0)
    assert await stall.available() == {"tee": 3}


async def test_only_what_was_sold_is_handed_over(stall: Stall) -> None:
    await stall.sells("tee", 5)
    await sold(stall, 2)
    too_many = at(1, "r1", 3, "fulfilled")
    assert await report(stall, too_many, at(1, "r2", 2, "fulfilled")) == [
        ("invalid", 3),
        ("applied", 3),
    ]
    (line,) = await stall.movements.lines(stall.shop)
    assert (line.on_hand, line.committed) == (3, 0)
    # A refusal is not remembered: once as many are sold, the same report is right.
    held = await stall.reserves("bob", "k1", ("tee", 3))
    await stall.commits(await stall.pays("bob", held))
    assert await report(stall, too_many) == [("applied", 0)]


async def test_a_hand_over_that_a_count_has_seen_changes_no_physical_number(stall: Stall) -> None:
    await stall.sells("tee", 5)
    await sold(stall, 2)
    assert await report(stall, at(30, "r1", 4, "counted"), at(20, "r2", 1, "fulfilled")) == [
        ("applied", 2),
        ("applied", 3),
    ]
    (line,) = await stall.movements.lines(stall.shop)
    assert (line.on_hand, line.committed) == (4, 1)


async def test_safety_stock_is_kept_back(stall: Stall) -> None:
    await stall.sells("tee", 5)
    assert await report(stall, at(1, "r1", 2, "safety_stock")) == [("applied", 3)]
    assert await report(stall, at(2, "r2", 0, "safety_stock")) == [("applied", 5)]


async def test_an_initial_movement_counts_only_where_nothing_is_known_yet(stall: Stall) -> None:
    first = (moved("r1", "tee", 5), moved("r2", "tee", 5, location="store"))
    await stall.movements.apply(stall.shop, first, initial=True)
    again = (moved("r3", "tee", 9), moved("r4", "cap", 1))
    results = await stall.movements.apply(stall.shop, again, initial=True)
    assert [result.status for result in results] == ["superseded", "applied"]
    assert await stall.available() == {"tee": 10, "cap": 1}


@pytest.mark.parametrize(
    ("movement", "rule"),
    [
        (moved("bad", "tee", 0), "at least 1"),
        (moved("bad", "tee", -1, kind="returned"), "at least 1"),
        (moved("bad", "tee", 0, kind="fulfilled"), "at least 1"),
        (moved("bad", "tee", -1, kind="counted"), "at least 0"),
        (moved("bad", "tee", -1, kind="safety_stock"), "at least 0"),
        (moved("bad", "tee", 0, kind="adjusted"), "changes nothing"),
        (moved("bad", "tee", 1, at="yesterday"), "RFC 3339"),
        (moved("bad", "tee", 1, at="2026-11-21T20:00:00.000"), "RFC 3339"),
    ],
)
async def test_one_wrong_movement_spoils_no_other(
    stall: Stall, movement: Movement, rule: str
) -> None:
    batch = (moved("r1", "tee", 2), movement, moved("r2", "tee", 3))
    before, wrong, after = await stall.movements.apply(stall.shop, batch)
    assert (before.status, after.status) == ("applied", "applied")
    assert isinstance(wrong, MovementResult)
    assert (wrong.status, wrong.code) == ("error", "invalid")
    assert rule in (wrong.message or "")
    assert await stall.available() == {"tee": 5}


async def test_without_a_replica_it_is_reported_again_until_it_is_safe(
    stall: Stall, settings: Settings
) -> None:
    """Told that it is applied, a till would never report again what a failover has lost."""
    waiting = msgspec.structs.replace(settings, wait_replicas=1, wait_timeout_ms=20)
    movement = moved("r", "tee", 2)
    async with served(waiting) as lane:
        movements = Movements(lane, waiting)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await movements.apply(stall.shop, (movement,))
    assert await report(stall, movement) == [("duplicate", 2)]


async def test_a_batch_has_a_bound_and_no_reference_twice(stall: Stall) -> None:
    many = tuple(moved(f"r{number}", "tee", 1) for number in range(MAX_BATCH + 1))
    with pytest.raises(Invalid):
        await stall.movements.apply(stall.shop, many)
    with pytest.raises(Invalid):
        await stall.movements.apply(stall.shop, (many[0], many[0]))
    assert await stall.movements.apply(stall.shop, ()) == ()
    assert await stall.available() == {}
    await stall.movements.apply(stall.shop, many[:MAX_BATCH])
    assert (await stall.books()).version == 1
    assert await stall.available() == {"tee": MAX_BATCH}
