"""Whoever sweeps notices that a server's clock has jumped, and that its own has not."""

import pytest

from gateway.stock.witness import Witness

HOUR_MS = 3_600_000


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


def test_a_server_that_goes_with_time_agrees() -> None:
    clock = Clock()
    witness = Witness(clock, 30_000)
    for _ in range(10):
        clock.passes(1000.5)
        assert witness.agrees(clock.day_ms)
        assert witness.drift_ms(clock.day_ms) == 0


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, 30_001, -30_001])
def test_a_server_that_jumps_does_not(jump_ms: int) -> None:
    clock = Clock()
    witness = Witness(clock, 30_000)
    clock.passes(5)
    assert not witness.agrees(clock.day_ms + jump_ms)
    assert witness.drift_ms(clock.day_ms + jump_ms) == jump_ms
    assert witness.agrees(clock.day_ms + 30_000)


def test_a_time_of_day_that_is_set_here_changes_nothing() -> None:
    clock = Clock()
    witness = Witness(clock, 30_000)
    true_ms = clock.day_ms
    clock.day_ms += HOUR_MS
    assert witness.agrees(true_ms)
