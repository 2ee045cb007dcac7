"""A delayed loser's compensation never touches the winner.

One settler is stopped before each of its steps in turn, for as long as another one takes to decide
the payment; then it goes on with what it believes. What was sold and captured meanwhile must stay
so: the record as the winner left it, its money neither cancelled nor given back. So must an attempt
that is still under way.
"""

import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.scripts import Script, load
from tests.actors import Actor
from tests.seams import (
    CARD,
    SECOND_STEP,
    Buyer,
    Gateway,
    Street,
    comes_to_rest,
    ends_of,
    street,
)
from tests.stall import moved

ANOTHER_BANK = "pm_card_threeDSecure2Required"
MOST_STEPS = 60


Act = Callable[[Street, Gateway, Buyer], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """What was before the loser set out to settle, and how the winner decides it meanwhile."""

    name: str
    before: Act
    wins: Act
    attempt: int = 1
    """Which one wins."""


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


async def _just_settles(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.settles(buyer)


async def _another_card(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.settles(buyer)
    await winner.checks_out(buyer, CARD)


async def _another_bank(street: Street, winner: Gateway, buyer: Buyer) -> None:
    await winner.settles(buyer)
    await winner.checks_out(buyer, ANOTHER_BANK)


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
    Story("both see it approved", _begun, _just_settles),
    Story("the loser saw a failure, another card won", _failed, _another_card, 2),
    Story("the loser saw a failure, another card is asked about", _failed, _another_bank, 2),
    Story("the loser saw a failure, the same form won", _failed, _same_form_again),
    Story("the loser saw it unanswered and expired", _lapsed, _approved_late),
    Story("the loser saw the units gone", _lapsed_and_gone, _units_are_back),
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
        actor = Actor(loser, functools.partial(loser.settles, buyer))
        for _ in range(k):
            if not actor.done:
                await actor.moves()
        if actor.done:
            return won
        await story.wins(scene, winner, buyer)
        before = await scene.record(buyer)
        assert before
        wins = before.attempt == story.attempt and before.phase in {"captured", "paying"}
        await actor.finishes()
        if wins:
            won += 1
            told = f"stopped before {actor.steps[k - 1]} ({k}), then {actor.steps[k:]}"
            assert await scene.record(buyer) == before, told
            await scene.answers(buyer, "succeed")
            await winner.settles(buyer)
            assert await ends_of(scene, buyer) == "sold", told
        await comes_to_rest(scene, winner)
        await ends_of(scene, buyer)
    raise AssertionError("the loser never came to an end")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_the_loser_changes_nothing(scene: Street, story: Story) -> None:
    assert await _plays(scene, story) > 0, "nobody ever won: this proves nothing"


async def test_a_move_that_is_not_fenced_is_found_out(
    scene: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what the loser knows of the first attempt is written over the second."""
    fence, text = "order[2] ~= ARGV[2]", load("order_move").text
    assert fence in text, "the check to take out has changed its wording"
    text = text.replace(fence, "false")
    copy = Script("order_move", text, hashlib.sha1(text.encode()).hexdigest())
    monkeypatch.setattr(
        "gateway.checkout.records.load",
        lambda name: copy if name == copy.name else load(name),
    )
    [story] = [story for story in STORIES if story.wins is _another_bank]
    with pytest.raises(AssertionError, match="stopped before"):
        await _plays(scene, story)
