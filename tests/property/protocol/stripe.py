"""Stripe as we may rely on it: intents, their states, and idempotency keys that replay results.

Each function is one request that reaches Stripe, or one thing a bank or a page does. Where the
outcome is not ours to choose, all outcomes are returned.
"""

from typing import NamedTuple

from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.world import Intent, Request, World

CANCELABLE = ("requires_payment_method", "requires_action", "requires_capture")
APPROVED = ("requires_capture", "succeeded")
LIVE = ("requires_capture", "succeeded", "requires_action", "processing")
"""Money is taken or set aside, or will be if the shopper's bank says yes."""
OVER = ("requires_payment_method", "canceled")


class Answer(NamedTuple):
    """One possible outcome of a request."""

    said: str
    """The status in the reply; ``broken`` for a 500, ``broken again`` for a replayed one."""
    intent: int
    world: World


def create(world: World, rules: Rules, request: Request) -> list[Answer]:
    """Ask for an intent and confirm it, under the attempt's idempotency key."""
    order, attempt, at, token = request
    if ("create", order, at) in world.stored:
        return [Answer("broken again", 0, world)]
    for number, intent in enumerate(world.intents[order], 1):
        if _same_key(rules, intent, request):
            return [Answer(intent.first, number, world)]
    number = len(world.intents[order]) + 1
    made = [
        world.with_intent(order, number, Intent(attempt, at, token, status, status))
        for status in rules.answers
    ]
    answers = [Answer(status, number, one) for status, one in zip(rules.answers, made, strict=True)]
    if world.errors:
        stored = world.stored | {("create", order, at)}
        answers += [
            Answer("broken", 0, one._replace(stored=stored, errors=world.errors - 1))
            for one in (world, *made)
        ]
    return answers


def _same_key(rules: Rules, intent: Intent, request: Request) -> bool:
    if not rules.on(Guard.KEY_ON_CREATE) or not intent.ours:
        return False
    return intent.at == request.at or not rules.on(Guard.KEY_NAMES_THE_ATTEMPT)


def find(world: World, order: int, attempt: int) -> int:
    """The newest intent whose metadata names this attempt; 0 when there is none."""
    numbers = [n for n, one in enumerate(world.intents[order], 1) if one.attempt == attempt]
    return numbers[-1] if numbers else 0


def capture(world: World, rules: Rules, order: int, number: int) -> list[Answer]:
    """Take the money. ``refused`` when it is taken already, or the authorization is gone."""
    if number == 0:
        return [Answer("unavailable", 0, world)]
    intent = world.intents[order][number - 1]
    taken = intent._replace(status="succeeded")
    broken = ("capture", order, number) in world.stored
    if broken and not rules.on(Guard.NEXT_KEY_AFTER_BROKEN):
        return [Answer("broken", number, world)]
    if intent.status != "requires_capture":
        return [Answer("refused", number, world)]
    done = world.with_intent(order, number, taken)
    answers = [Answer("succeeded", number, done)]
    if world.errors:
        stored = world.stored | {("capture", order, number)}
        answers += [
            Answer("broken", number, one._replace(stored=stored, errors=world.errors - 1))
            for one in (world, done)
        ]
    return answers


def cancel(world: World, rules: Rules, order: int, number: int) -> list[Answer]:
    """Give an authorization back. A refusal is stored under its key like any other result."""
    intent = world.intents[order][number - 1]
    if intent.status == "canceled":
        return [Answer("canceled", number, world)]
    key = ("cancel", order, number)
    replayed = key in world.stored and not rules.on(Guard.NEXT_KEY_AFTER_REFUSED_CANCEL)
    if intent.status in CANCELABLE and not replayed:
        gone = intent._replace(status="canceled")
        return [Answer("canceled", number, world.with_intent(order, number, gone))]
    stored = world.stored
    if not rules.on(Guard.NEXT_KEY_AFTER_REFUSED_CANCEL):
        stored |= {key}
    return [Answer("refused", number, world._replace(stored=stored))]


def refund(world: World, order: int, number: int) -> World:
    """Give taken money back."""
    intent = world.intents[order][number - 1]
    return world.with_intent(order, number, intent._replace(status="refunded"))


def bank(world: World, rules: Rules, order: int, number: int) -> list[tuple[str, World]]:
    """What the shopper's bank, or the page with the intent's secret, may do next."""
    intent = world.intents[order][number - 1]
    if not intent.ours:
        return []
    become: dict[str, str] = {}
    if intent.status == "requires_action":
        become = {
            "approves the second step": "requires_capture",
            "declines the second step": "requires_payment_method",
        }
    elif intent.status == "processing":
        become = {"pays": "succeeded", "does not pay": "requires_payment_method"}
    elif intent.status == "requires_payment_method" and rules.second_try:
        become = {"is asked again by the page and approves": "requires_capture"}
    return [
        (how, world.with_intent(order, number, intent._replace(status=status)))
        for how, status in become.items()
    ]
