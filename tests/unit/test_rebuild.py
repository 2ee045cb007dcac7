"""How far back a sale may be missing, by the clock of the server that may have lost it."""

import pytest

from gateway.lane import Lane
from gateway.recovery.rebuild import HISTORY_MS, Rebuilder
from gateway.recovery.sold import Books
from gateway.stock.standing import Position, Standing, State
from tests.stall import settings_for

NOW_MS = 1_800_000_000_000
MINUTE_MS, DAY_MS = 60_000, 86_400_000


@pytest.fixture
def rebuilder() -> Rebuilder:
    settings = settings_for("redis://localhost", "shop")
    books: Books = object.__new__(Books)
    return Rebuilder(Lane(settings), settings, books)


def since(rebuilder: Rebuilder, clock_ms: int) -> int:
    return rebuilder.since(Standing(State.FROZEN, Position(1, 1), clock_ms), NOW_MS)


def test_a_payment_before_the_last_that_is_known_may_be_missing(rebuilder: Rebuilder) -> None:
    # The budget of a payment, the longest queue before Stripe, and what clocks may differ.
    assert since(rebuilder, NOW_MS - MINUTE_MS) == NOW_MS - (1 + 10 + 15 + 5) * MINUTE_MS


@pytest.mark.parametrize(
    "clock_ms",
    [
        pytest.param(0, id="it is lost"),
        pytest.param(NOW_MS + 60 * MINUTE_MS, id="it was ahead, so that it says nothing"),
        pytest.param(NOW_MS - 40 * DAY_MS, id="the shop was idle"),
    ],
)
def test_otherwise_all_that_is_looked_for_may_be(rebuilder: Rebuilder, clock_ms: int) -> None:
    assert since(rebuilder, clock_ms) == NOW_MS - HISTORY_MS
