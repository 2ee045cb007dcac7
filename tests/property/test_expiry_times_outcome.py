"""Expiry at every second of a second-step payment, times four outcomes, in virtual time.

The hold, the payment's budget and the time left for a late approval end within seconds of each
other. At every second of that, and past it, the bank approves or refuses, the shopper gives it
back, or nobody ever answers; told by a webhook or by nobody; the sweep comes round each second,
before or after it; and somebody else may take the units the moment they are free. There are two
ways it may end: order and capture, or no order and void.

By default every fifth of these courses is taken; ``HOLDFAST_TEST_DEEP=yes`` takes all.
"""

import contextlib
import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import NamedTuple

import pytest

from gateway.errors import HoldfastError
from gateway.scripts import Script, load
from gateway.stock import rows
from gateway.stock.audit import audit
from tests.depth import deep, sample
from tests.seams import SECOND_STEP, Buyer, Gateway, Street, ends_of, street
from tests.stall import moved

pytestmark = deep

log = logging.getLogger(__name__)

HOLD_S, BUDGET_S, LATE_S = 3, 5, 2
SETTINGS = {
    "hold_ttl_s": HOLD_S,
    "payment_budget_s": BUDGET_S,
    "late_approval_s": LATE_S,
    "settle_interval_s": 1,
    "decline_grace_s": 1,
}
END_S = BUDGET_S + LATE_S + 1
"""All is over by then."""
REST_S = END_S + 4
SOME = 5
"""Courses differ by flags, of which there are two: in a fifth, each is met at some second."""


class Outcome(StrEnum):
    """What becomes of the second step."""

    APPROVED = "the bank approves"
    REFUSED = "the bank refuses"
    NEVER = "nobody answers"
    RELEASED = "the shopper gives it back"


class Course(NamedTuple):
    """One payment."""

    outcome: Outcome
    at_s: int
    """When, since the payment began."""
    told: bool = False
    """Whether a webhook or frame tells of it at once, or the sweep finds it."""
    sweep_first: bool = False
    """Whether the sweep has been round in that second before it."""
    wanted: bool = False
    """Whether somebody else takes the units as soon as they are free."""


def courses() -> list[Course]:
    """All there are. What never happens has no time, and only who is approved can come too late."""
    flags = (False, True)
    happening = [
        Course(outcome, at_s, told, sweep_first, wanted)
        for outcome in (Outcome.APPROVED, Outcome.REFUSED, Outcome.RELEASED)
        for at_s in range(END_S + 1)
        for told, sweep_first, wanted in itertools.product(flags, flags, flags)
        if outcome is Outcome.APPROVED or not wanted
    ]
    return happening + [Course(Outcome.NEVER, END_S, wanted=wanted) for wanted in flags]


def expected(course: Course) -> str:
    """Known in time, or approved late and the units are still there: sold. All else is not."""
    at_s, early = course.at_s, not course.sweep_first
    known_s = at_s if course.told or early else at_s + 1
    last_moment = at_s == BUDGET_S and course.told and early
    in_time = known_s < BUDGET_S or last_moment
    late = at_s < BUDGET_S + LATE_S or (at_s == BUDGET_S + LATE_S and early)
    approved = course.outcome is Outcome.APPROVED
    return "sold" if approved and (in_time or (late and not course.wanted)) else "not sold"


async def play(scene: Street, gateway: Gateway, name: str, course: Course) -> str:
    """Let a payment take its course, a second at a time; how it ended, or what is wrong."""
    buyer = await scene.comes(name, units=1)
    await gateway.checks_out(buyer, SECOND_STEP)
    began_ms, taken = scene.clock.ms, not course.wanted
    for second in range(REST_S):
        await scene.is_now(began_ms + 1000 * second)
        now = second == course.at_s
        if now and not course.sweep_first:
            await _happens(scene, gateway, buyer, course)
        await gateway.sweeps()
        taken = taken or await _takes(scene, buyer)
        if now and course.sweep_first:
            await _happens(scene, gateway, buyer, course)
        if second >= course.at_s and await scene.next_due() is None:
            break
    try:
        return await ends_of(scene, buyer)
    except AssertionError as wrong:
        return str(wrong).splitlines()[0]


async def _happens(scene: Street, gateway: Gateway, buyer: Buyer, course: Course) -> None:
    match course.outcome:
        case Outcome.APPROVED:
            await scene.answers(buyer, "succeed")
        case Outcome.REFUSED:
            await scene.answers(buyer, "fail")
        case Outcome.RELEASED:
            with contextlib.suppress(HoldfastError):
                hold = buyer.held.hold.id
                await scene.stall.holds.release(scene.stall.shop, buyer.name, hold)
    if course.told:
        await gateway.settles(buyer)


async def _takes(scene: Street, buyer: Buyer) -> bool:
    """Somebody in the shop itself takes the unit if it is free."""
    (row,) = rows.decode(await scene.lane.command("HGET", scene.keys.stock, buyer.sku))
    if not row.available:
        return False
    walk_in = moved(f"walk-in-{buyer.name}", buyer.sku, -1, kind="adjusted")
    (result,) = await scene.stall.movements.apply(scene.stall.shop, (walk_in,))
    return result.status == "applied"


@pytest.fixture
async def scene(redis_url: str, shop: str) -> AsyncIterator[Street]:
    async with street(redis_url, shop, **SETTINGS) as scene:
        yield scene


async def test_order_and_capture_or_no_order_and_void(scene: Street) -> None:
    gateway, played = await scene.gateway(), Counter[str]()
    for number, course in enumerate(sample(courses(), SOME)):
        ended = await play(scene, gateway, f"b{number}", course)
        assert ended == expected(course), course
        played[ended] += 1
    log.info("%d courses: %s", played.total(), dict(played))
    verdict = await audit(scene.lane, scene.stall.shop)
    assert verdict.drift == ()
    assert verdict.committed_units == played["sold"]
    summary = await scene.bank.summary()
    assert summary["captured"]["count"] == played["sold"]
    assert summary["open_authorizations"]["count"] == summary["refunds"]["count"] == 0


async def test_an_expiry_that_voids_nothing_is_found_out(
    scene: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the units go back on sale, and the payment under way is forgotten."""
    check = "elseif hold.phase == 'paying' then"
    text = load("hold_expire").text
    assert check in text, "the check to take out has changed its wording"
    text = text.replace(check, "elseif false then")
    copy = Script("hold_expire", text, hashlib.sha1(text.encode()).hexdigest())
    monkeypatch.setattr(
        "gateway.stock.sweeper.load",
        lambda name: copy if name == copy.name else load(name),
    )
    never = Course(Outcome.NEVER, END_S)
    ended = await play(scene, await scene.gateway(), "b", never)
    assert ended not in {"sold", "not sold"}, "nobody noticed: the courses prove nothing"
