"""Without any one of its guards the protocol fails, and the exploration finds out how.

By default those guards stay that are missed only after thousands of worlds;
``HOLDFAST_TEST_DEEP=yes`` takes away each of them.
"""

import pytest

from tests.depth import DEEP, deep
from tests.property.protocol.guards import Guard
from tests.property.protocol.payments import Payments
from tests.property.protocol.refunds import Refunds
from tests.property.protocol.scenarios import SCENARIOS
from tests.property.protocol.search import explore

pytestmark = deep

LEFT_AUTHORIZED = "heard *not charged*, but card"
WITHOUT_A_UNIT = "was charged without a unit"
LEAK = "units leak"

MUTANTS = {
    Guard.RESERVE_ONCE: ("reserving", LEAK),
    Guard.HOLD_LIVES_WITH_ITS_PAYMENT: ("our queue", "lapsed while we kept"),
    Guard.QUEUE_DOES_NOT_COUNT: ("our queue", "lapsed within the payment's budget"),
    Guard.SAME_REQUEST_SAME_ATTEMPT: ("our queue", "two authorizations at once"),
    Guard.ATTEMPT_AFTER_A_DEFINITE_NO: ("declines", "two authorizations at once"),
    Guard.LATE_COPY_BEGINS_NOTHING: ("declines", LEFT_AUTHORIZED),
    Guard.NO_ATTEMPT_WHILE_VOIDING: ("pinned, second card", "two authorizations at once"),
    Guard.ASKED_IS_WRITTEN_FIRST: ("our queue", LEFT_AUTHORIZED),
    Guard.KEY_ON_CREATE: ("our queue", "two authorizations at once"),
    Guard.READ_AFTER_BROKEN_CREATE: ("breaking", LEFT_AUTHORIZED),
    Guard.READ_AFTER_BROKEN_CAPTURE: ("failover and broken Stripe", WITHOUT_A_UNIT),
    Guard.NEXT_KEY_AFTER_BROKEN: ("breaking", "never come to rest"),
    Guard.NEXT_KEY_AFTER_REFUSED_CANCEL: ("pinned, second card", "never come to rest"),
    Guard.INTENT_IS_OURS: ("foreign intent", "paid by an intent that is not its own"),
    Guard.COMMIT_BEFORE_CAPTURE: ("our queue", WITHOUT_A_UNIT),
    Guard.CAPTURE_AFTER_WAIT: ("failover", WITHOUT_A_UNIT),
    Guard.WAIT_WHERE_WRITTEN: ("old primary, two shoppers", WITHOUT_A_UNIT),
    Guard.REPEATED_COMMIT_WRITES: ("failover", WITHOUT_A_UNIT),
    Guard.REPEATED_COMMIT_IS_THE_SAME: ("failover", WITHOUT_A_UNIT),
    Guard.COMMIT_NEEDS_THE_HOLD: ("our queue", LEAK),
    Guard.COMMIT_BINDS_THE_INTENT: ("failover and second card", WITHOUT_A_UNIT),
    Guard.FENCE_OF_COMMIT: ("declines", LEFT_AUTHORIZED),
    Guard.FENCE_OF_MOVES: ("declines", LEFT_AUTHORIZED),
    Guard.FENCE_OF_DECLINE: ("declines", LEFT_AUTHORIZED),
    Guard.EXPIRY_LOOKS_AGAIN: ("reserving", LEAK),
    Guard.DECLINE_CANCELS: ("declines", LEFT_AUTHORIZED),
    Guard.VOID_LOOKS_FOR_LOST_INTENT: ("our queue", LEFT_AUTHORIZED),
    Guard.QUARANTINE: ("breaking", LEFT_AUTHORIZED),
    Guard.CANCEL_BEFORE_VOIDED: ("breaking", LEFT_AUTHORIZED),
    Guard.SAID_ONLY_ONCE_VOIDED: ("our queue", LEFT_AUTHORIZED),
    Guard.VOIDING_IS_DURABLE: ("two failovers", LEFT_AUTHORIZED),
    Guard.READ_AFTER_REFUSED_CANCEL: ("pinned", LEFT_AUTHORIZED),
    Guard.REFUND_ONLY_THE_UNSOLD: ("declines", "units without money"),
    Guard.READ_AFTER_REFUSED_CAPTURE: ("our queue", WITHOUT_A_UNIT),
    Guard.FAILS_ONCE: ("declines", LEAK),
    Guard.AGAIN_LOOKS_AT_THE_STOCK: ("last unit", "oversold"),
    Guard.AGAIN_ONLY_AFTER_EXPIRY: ("reserving", "was sold what was given back"),
    Guard.EVENT_AFTER_CAPTURE: ("paying", "handed to the POS without money"),
    Guard.PINNED_KEEPS_ITS_UNITS: ("pinned", WITHOUT_A_UNIT),
    Guard.PINNED_SELLS_WHAT_IT_HOLDS: ("pinned", "hold keeps units although"),
    Guard.STRAYS_ARE_CANCELLED: ("failover and second card", "money is left authorized"),
}
"""For each guard the world that shows what it is for, and what goes wrong there without it."""

REFUND_MUTANTS = {
    Guard.REFUND_ONCE_PER_KEY: "went",
    Guard.REFUND_RESERVES_FIRST: "more was promised back than was captured",
    Guard.REFUND_HAS_A_KEY: "one refund was paid twice",
    Guard.REFUND_KEY_NAMES_THE_REFUND: "went",
    Guard.REFUND_LOOKS_FIRST: "one refund was paid twice",
    Guard.REFUND_ENDS_ONCE: "the POS heard of a refund twice",
}


FAR = {
    Guard.FAILS_ONCE,
    Guard.FENCE_OF_COMMIT,
    Guard.FENCE_OF_MOVES,
    Guard.NEXT_KEY_AFTER_BROKEN,
    Guard.NEXT_KEY_AFTER_REFUSED_CANCEL,
    Guard.PINNED_SELLS_WHAT_IT_HOLDS,
    Guard.READ_AFTER_REFUSED_CANCEL,
    Guard.REFUND_ONLY_THE_UNSOLD,
    Guard.REPEATED_COMMIT_IS_THE_SAME,
    Guard.VOIDING_IS_DURABLE,
}
"""Guards whose absence shows far from the first world: two thirds of the time are theirs."""


@pytest.mark.parametrize(
    "guard", [one for one in MUTANTS if DEEP or one not in FAR], ids=lambda guard: guard.name
)
def test_a_payment_fails_without(guard: Guard) -> None:
    name, wrong = MUTANTS[guard]
    found = explore(Payments(SCENARIOS[name]._replace(without=guard)))
    assert wrong in found.complaint, f"nobody misses it: {guard.why}\n{found}"


def test_a_second_card_is_of_no_use_when_the_key_does_not_name_the_attempt() -> None:
    """Too much is forbidden then, rather than too little."""
    rules = SCENARIOS["declines"]._replace(without=Guard.KEY_NAMES_THE_ATTEMPT)
    found = explore(Payments(rules))
    assert not found.complaint
    assert "paying by card 2" in found.ends
    assert "captured by card 2" not in found.ends


@pytest.mark.parametrize("guard", REFUND_MUTANTS, ids=lambda guard: guard.name)
def test_a_refund_fails_without(guard: Guard) -> None:
    found = explore(Refunds(guard))
    assert REFUND_MUTANTS[guard] in found.complaint, f"nobody misses it: {guard.why}\n{found}"


def test_every_guard_is_taken_away_once() -> None:
    assert {*MUTANTS, *REFUND_MUTANTS, Guard.KEY_NAMES_THE_ATTEMPT} == set(Guard)
    assert len(Guard) >= 20
