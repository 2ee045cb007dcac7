"""Methods that take the money at once: the units stay held until such a payment has ended."""

import contextlib
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.errors import Unavailable
from gateway.messages import CheckoutFrame
from gateway.stock.audit import audit
from gateway.stock.sweeper import expire_due
from tests.bank import Bank
from tests.integration.conftest import UNLIMITED, Corner, open_site, settings_of
from tests.purchase import SECOND_STEP, Purchase

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDEAL = "pm_ideal"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(redis_url: str) -> AsyncIterator[Corner]:
    """A site whose shop takes iDEAL."""
    settings = msgspec.structs.replace(
        settings_of(redis_url, f"shop_{uuid.uuid4().hex}"), automatic_methods="ideal"
    )
    async with open_site(settings, UNLIMITED) as site:
        yield Corner(site.url, site.gateway, site.stripe_url, site.server, name=site.shop)


@pytest_asyncio.fixture(loop_scope="module")
async def ann(site: Corner) -> AsyncIterator[Purchase]:
    ann = Purchase(site, Bank(site.stripe_url))
    await ann.reserves(uuid.uuid4().hex, of=50)
    yield ann
    with contextlib.suppress(Exception):
        await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
    await ann.bank.fails()


async def at_the_bank(ann: Purchase) -> CheckoutFrame:
    """The shopper is sent to the bank's page."""
    frame = await ann.frame(IDEAL)
    assert frame.state == "requires_action"
    return frame


async def sweeps(ann: Purchase) -> int:
    return await expire_due(ann.rooms.lane, ann.rooms.settings, ann.shop)


async def lapses(ann: Purchase) -> None:
    """The deadline passes; the units stay where they are."""
    await ann.deadline_passes()
    assert await sweeps(ann) == 0
    assert (await ann.record()).phase is Phase.VOIDING


async def test_the_money_is_taken_at_once_and_the_order_stands(ann: Purchase) -> None:
    before = await ann.left()
    await ann.second_step(await at_the_bank(ann))
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]
    assert await ann.left() == before


async def test_a_card_is_authorized_first_all_the_same(ann: Purchase) -> None:
    frame = await ann.frame(SECOND_STEP)
    await ann.second_step(frame)
    assert [status for status, _ in await ann.charged()] == ["requires_capture"]
    assert await ann.settle() == "confirmed"


async def test_a_bank_that_refuses_leaves_the_hold_for_another_method(ann: Purchase) -> None:
    await ann.second_step(await at_the_bank(ann), "fail")
    assert await ann.settle() == "declined"
    assert await ann.pays() == "confirmed"


async def test_at_the_end_it_is_cancelled_first_and_then_the_units_are_free(ann: Purchase) -> None:
    before = await ann.left()
    await at_the_bank(ann)
    await lapses(ann)
    assert await ann.left() == before
    assert await ann.settle() == "declined"
    assert await ann.charged() == [("canceled", 0)]
    assert await sweeps(ann) == 1
    assert await ann.left() == before + 1


async def test_approved_after_the_deadline_the_units_are_still_there(ann: Purchase) -> None:
    before, frame = await ann.left(), await at_the_bank(ann)
    await lapses(ann)
    await ann.second_step(frame)
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]
    assert await ann.left() == before
    assert await sweeps(ann) == 0


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
async def test_what_is_being_transferred_cannot_be_cancelled_and_is_waited_for(
    ann: Purchase, outcome: str
) -> None:
    before, frame = await ann.left(), await at_the_bank(ann)
    await ann.second_step(frame, "process")
    assert await ann.settle() == "processing"
    given_back = await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
    assert given_back.hold.state == "active"
    with pytest.raises(Unavailable):
        await ann.settle()
    assert await sweeps(ann) == 0
    assert await ann.left() == before
    await ann.second_step(frame, outcome)
    assert await ann.settle() == ("confirmed" if outcome == "succeed" else "declined")
    assert await sweeps(ann) == (outcome == "fail")
    assert await ann.left() == before + (outcome == "fail")
    assert (await audit(ann.rooms.lane, ann.shop)).drift == ()
