"""What must be true in every world, and what must be true when everything has come to rest."""

from collections.abc import Iterator

from tests.property.protocol import stripe
from tests.property.protocol.rules import Rules
from tests.property.protocol.scripts import SOLD
from tests.property.protocol.steps import RESTING, promised
from tests.property.protocol.world import NAMES, World


def complaints(world: World, rules: Rules) -> Iterator[str]:
    """What is wrong with a world, at whatever moment."""
    yield from _books(world, rules)
    for number in range(len(rules.wants)):
        yield from _hold(world, rules, number)
        yield from _money(world, rules, number)
        yield from _words(world, rules, number)


def _books(world: World, rules: Rules) -> Iterator[str]:
    redis = world.primary
    sales = list(zip(redis.sales, rules.wants, strict=True))
    if redis.held + redis.committed > rules.on_hand:
        yield "oversold: more is held and sold than there is"
    if redis.held != sum(wants for sale, wants in sales if sale.hold.state == "active"):
        yield "units leak: what is held is not what the active holds have"
    if redis.committed != sum(wants for sale, wants in sales if sale.order.phase in SOLD):
        yield "units leak: what is committed is not what was sold"
    units = [unit for sale, _ in sales for unit in sale.order.units]
    if len(units) != len(set(units)):
        yield "oversold: a unit has two owners"


def _hold(world: World, rules: Rules, number: int) -> Iterator[str]:
    name, (hold, order) = NAMES[number], world.primary.sales[number]
    if hold.ends > 1:
        yield f"{name}'s hold was resolved twice"
    if order.phase in SOLD and hold.state == "released":
        yield f"{name} was sold what was given back"
    if order.phase in SOLD and hold.state == "active":
        yield f"{name}'s hold keeps units although its order is sold"
    if hold.state == "expired" and hold.left:
        yield f"{name}'s hold expired before its deadline"
    if order.phase == "voiding" and order.reason == "expired":
        if order.asked and order.budget:
            yield f"{name}'s hold lapsed within the payment's budget"
        if not order.asked and order.queue:
            yield f"{name}'s hold lapsed while we kept the payment waiting"


def _money(world: World, rules: Rules, number: int) -> Iterator[str]:
    name, (hold, order) = NAMES[number], world.primary.sales[number]
    intents = world.intents[number]
    taken = [n for n, one in enumerate(intents, 1) if one.status == "succeeded"]
    if len(taken) > 1:
        yield f"{name} was charged twice for one order"
    pays = order.phase in SOLD and len(order.units) == rules.wants[number]
    waits = rules.pinned and hold.state == "active"
    for one in taken:
        if not intents[one - 1].ours:
            yield f"{name}'s order was paid by an intent that is not its own"
        if not waits and not (pays and order.intent == one):
            yield f"{name} was charged without a unit"
        if pays and order.paid_by != one:
            yield f"{name}'s event names another payment than the one that was taken"
    if order.phase == "captured" and order.intent not in taken:
        yield f"{name} has units without money"
    if world.delivered[number] and not taken:
        yield f"{name}'s order was handed to the POS without money"
    live = [one for one in intents if one.ours and one.status in stripe.LIVE]
    if rules.lossless and len(live) > 1:
        yield f"{name} has two authorizations at once"


def _words(world: World, rules: Rules, number: int) -> Iterator[str]:
    """*Not charged* is a promise. Without data loss nothing is even authorized any more."""
    broken = stripe.LIVE if rules.lossless else ("succeeded",)
    for intent in world.intents[number]:
        heard = world.told[number] >> promised(rules, intent) & 1
        if intent.ours and heard and intent.status in broken:
            yield f"{NAMES[number]} heard *not charged*, but card {intent.token} {intent.status}"


def at_rest(world: World, rules: Rules) -> Iterator[str]:
    """What is wrong with a world in which none of our processes can change anything any more."""
    for number, name in enumerate(NAMES[: len(rules.wants)]):
        order, intents = world.primary.sales[number].order, world.intents[number]
        if order.phase not in RESTING:
            yield f"{name}'s order is stuck: {order.phase}"
        if any(one.ours and one.status == "requires_capture" for one in intents):
            yield f"{name}'s money is left authorized"
        paid = [n for n, one in enumerate(intents, 1) if one.status == "succeeded"]
        if paid != ([order.intent] if order.phase == "captured" else []):
            yield f"{name}'s money and sale do not match"
        if rules.relay and world.delivered[number] != bool(paid):
            yield f"{name}'s money and hand-off do not match"
