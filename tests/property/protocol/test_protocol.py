"""The protocol as built holds in every small world, whatever happens in it in whatever order.

By default only the smallest worlds are explored; ``HOLDFAST_TEST_DEEP=yes`` explores all.
"""

import pytest

from tests.depth import DEEP, deep
from tests.property.protocol.payments import Payments
from tests.property.protocol.refunds import Refunds
from tests.property.protocol.scenarios import SCENARIOS
from tests.property.protocol.search import explore

pytestmark = deep

SIZES = {
    "reserving": 1_500,
    "paying": 10_000,
    "breaking": 2_000,
    "declines": 5_000,
    "our queue": 60,
    "last unit": 5_000,
    "last unit, two runs": 15_000,
    "two units": 15_000,
    "foreign intent": 4_000,
    "pinned": 3_000,
    "pinned, second card": 1_500,
    "failover": 10_000,
    "failover and deadline": 2_500,
    "failover and broken Stripe": 1_500,
    "failover and second card": 1_500,
    "two failovers": 4_000,
    "old primary": 15_000,
    "old primary, two shoppers": 1_500,
}
"""Worlds there are at least: fewer, and the exploration has become hollow."""

SMALL = 2_500

ALWAYS = {"captured by card 1", "voided by card 1"}
ENDS = {
    "paying": {"declined by card 1", "failed by card 1", "sold after the deadline"},
    "declines": {"captured by card 2", "failed by card 1"},
    "last unit": {"sold after the deadline"},
    "last unit, two runs": {"sold after the deadline", "failed by card 1"},
    "foreign intent": {"captured by card 2"},
    "pinned": {"declined by card 1", "failed by card 1"},
    "pinned, second card": {"captured by card 2", "declined by card 1"},
    "failover and second card": {"captured by card 2", "declined by card 1"},
}
"""What an order must be able to come to, so that a guard which forbids everything is found out."""


@pytest.mark.parametrize("name", [name for name in SCENARIOS if DEEP or SIZES[name] <= SMALL])
def test_the_protocol_holds(name: str) -> None:
    found = explore(Payments(SCENARIOS[name]))
    assert not found.complaint, f"{name}: {SCENARIOS[name].story}\n{found}"
    assert found.worlds > SIZES[name]
    assert found.resting > 0
    assert found.ends >= ALWAYS | ENDS.get(name, set())


def test_refunds_hold() -> None:
    found = explore(Refunds())
    assert not found.complaint, str(found)
    assert found.worlds > 300
    assert found.resting > 0
    assert found.ends == {"0 went back", "1 went back", "2 went back"}
