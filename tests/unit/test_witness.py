"""Whoever sweeps notices that a server's clock has jumped, and that its own has not."""

import pytest

from gateway.stock.witness import Witness

HOUR_MS = 3_600_000
PATIENCE_S = 1_000
SHOP = "shop"


class Clock:
    """A machine whose time of day may be set; time itself only runs."""

    def __init__(self) -> None:
        self.day_ms, self.run_s = 1_000_000_000_000, 77.0

    def now_ms(self) -> int:
        return self.day_ms

    def monotonic_s(self) -> float:
        return self.run_s

    def passes(self, seconds: float) -> None:
        self.day_ms += round(seconds * 1000)
        self.run_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def witness(clock: Clock) -> Witness:
    return Witness(clock, 30_000, PATIENCE_S)


def test_a_server_that_goes_with_time_agrees(clock: Clock, witness: Witness) -> None:
    for _ in range(10):
        clock.passes(1000.5)
        assert witness.agrees(SHOP, clock.day_ms)
        assert witness.drift_ms(SHOP, clock.day_ms) == 0


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, 30_001, -30_001])
def test_a_server_that_jumps_does_not(clock: Clock, witness: Witness, jump_ms: int) -> None:
    clock.passes(5)
    assert not witness.agrees(SHOP, clock.day_ms + jump_ms)
    assert witness.drift_ms(SHOP, clock.day_ms + jump_ms) == jump_ms
    assert witness.agrees(SHOP, clock.day_ms + 30_000)


def test_a_time_of_day_that_is_set_here_changes_nothing(clock: Clock, witness: Witness) -> None:
    true_ms = clock.day_ms
    clock.day_ms += HOUR_MS
    assert witness.agrees(SHOP, true_ms)


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS])
def test_a_server_that_stays_by_its_new_time_is_believed_when_every_hold_of_the_old_is_over(
    clock: Clock, witness: Witness, jump_ms: int
) -> None:
    """Such as one on a machine that was asleep."""
    for _ in range(PATIENCE_S):
        assert not witness.agrees(SHOP, clock.day_ms + jump_ms)
        clock.passes(1)
    assert witness.agrees(SHOP, clock.day_ms + jump_ms)
    assert witness.drift_ms(SHOP, clock.day_ms + jump_ms) == 0
    assert not witness.agrees(SHOP, clock.day_ms), "that would be another jump"
    assert not witness.agrees("another", clock.day_ms + jump_ms), "it is of another server"


def test_a_server_that_goes_faster_than_time_is_never_believed(
    clock: Clock, witness: Witness
) -> None:
    for _ in range(5 * PATIENCE_S):
        clock.passes(1)
        assert not witness.agrees(SHOP, clock.day_ms + HOUR_MS + round(clock.run_s * 100))


def test_a_moment_of_agreement_begins_the_doubt_anew(clock: Clock, witness: Witness) -> None:
    assert not witness.agrees(SHOP, clock.day_ms + HOUR_MS)
    clock.passes(PATIENCE_S - 1)
    assert witness.agrees(SHOP, clock.day_ms)
    clock.passes(1)
    assert not witness.agrees(SHOP, clock.day_ms + HOUR_MS)
