"""A delayed loser's compensation never touches the winner.

One settler is stopped before each of its steps in turn, for as long as another one takes to decide
the payment; then it goes on with what it believes. What was sold and captured meanwhile must stay
so: the record as the winner left it, its money neither cancelled nor given back.
"""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.seams import (
    CARD,
    SECOND_STEP,
    Actor,
    Buyer,
    Gateway,
    Street,
    comes_to_rest,
    ends_of,
    street,
)
from tests.stall import moved

MOST_STEPS = 60


@dataclass(frozen=True)
class Story:
    """What was before, what the loser sets out to do, and how the winner decides it meanwhile."""

    name: str
    before: Callable[[Street, Gateway, Buyer], Awaitable[None]]
    loses: Callable[[Gateway, Buyer], Awaitable[None]]
    wins: Callable[[Street, Gateway, Buyer], Awaitable[None]]


async def _asked(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.checks_out(buyer, SECOND_STEP)


async def _failed(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await _asked(street, winner, buyer)
    await street.answers(buyer, "fail")


async def _lapsed(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await _asked(street, winner, buyer)
    await street.lapses(buyer)


async def _lapsed_and_gone(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await _lapsed(street, winner, buyer)
    await _counted(street, buyer, "less", -2)
    await street.answers(buyer, "succeed")


async def _counted(street: Street, buyer: Buyer, reference: str, units: int) -> None:
    change = moved(f"{reference}-{buyer.name}", buyer.sku, units, kind="adjusted")
    (result,) = await street.stall.movements.apply(street.stall.shop, (change,))
    assert result.status == "applied"


async def _begun(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.begins(buyer, CARD)


async def _settles(gateway: Gateway, buyer: Buyer) -> None:
    await gateway.settles(buyer)


async def _just_settles(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.settles(buyer)


async def _another_card(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.settles(buyer)
    await winner.checks_out(buyer, CARD)


async def _same_form_again(street: Street, winner: Gateway, buyer: Buyer) -> None:
    """The page still has the secret: Stripe's form confirms the failed intent with another card."""
    for intent in await street.bank.intents(buyer.order):
        if intent["status"] == "requires_payment_method":
            path = f"/v1/payment_intents/{intent['id']}/confirm"
            await street.bank._ask("POST", path, data={"payment_method": CARD})
    await winner.settles(buyer)


async def _approved_late(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await street.answers(buyer, "succeed")
    await winner.settles(buyer)


async def _units_are_back(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await _counted(street, buyer, "more", 2)
    await winner.settles(buyer)


STORIES = [
    Story("both see it approved", _begun, _settles, _just_settles),
    Story("the loser saw a failure, another card won", _failed, _settles, _another_card),
    Story("the loser saw a failure, the same form won", _failed, _settles, _same_form_again),
    Story("the loser saw it unanswered and expired", _lapsed, _settles, _approved_late),
    Story("the loser saw the units gone", _lapsed_and_gone, _settles, _units_are_back),
]


@pytest.fixture
async def scene(redis_url: str, shop: str) -> AsyncIterator[Street]:
    async with street(redis_url, shop) as scene:
        yield scene


async def _plays(scene: Street, story: Story) -> int:
    """Stop the loser before each step; return how often the other had won by then."""
    loser, winner = await scene.gateway(), await scene.gateway()
    won = 0
    for k in range(1, MOST_STEPS):
        buyer = await scene.comes(f"s{k}")
        await story.before(scene, winner, buyer)
        actor = Actor(loser, functools.partial(story.loses, loser, buyer))
        for _ in range(k):
            if not actor.done:
                await actor.moves()
        if actor.done:
            return won
        await story.wins(scene, winner, buyer)
        before = await scene.record(buyer)
        sold = before is not None and before.phase == "captured"
        won += sold
        await actor.finishes()
        if sold:
            told = f"before {actor.steps[k - 1]} ({k}), and then {actor.steps[k:]}"
            assert await scene.record(buyer) == before, told
            assert await ends_of(scene, buyer) == "sold", told
        await comes_to_rest(scene, winner)
        await ends_of(scene, buyer)
    raise AssertionError("the loser never came to an end")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_the_loser_changes_nothing(scene: Street, story: Story) -> None:
    assert await _plays(scene, story) > 0, "nobody ever won: this proves nothing"
