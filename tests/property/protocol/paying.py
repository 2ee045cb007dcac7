"""The steps of a run at an order that is paying: ask Stripe, and act on what it says."""

from tests.property.protocol import scripts, stripe
from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.run import Step, ends, goes_on, may_settle, move
from tests.property.protocol.world import Request, Worker, World


def ask(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Write down that Stripe is asked, before it is."""
    redis, moved = scripts.order_asked(world.node(worker), rules, worker.order, worker.attempt)
    world = world.on_node(worker, redis)
    if not moved:
        return [ends("may not ask any more", world)]
    return [Step("writes down that it asks Stripe", world, worker._replace(doing="create"))]


def create(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Ask Stripe for an intent."""
    request = Request(worker.order, worker.attempt, worker.at, worker.token)
    steps = [
        _learn(answer.world, rules, worker._replace(intent=answer.intent), answer.said)
        for answer in stripe.create(world, rules, request)
    ]
    if rules.lost_requests and request not in world.flying:
        flying = tuple(sorted((*world.flying, request)))
        lost = world._replace(flying=flying)
        steps.append(ends("asks Stripe, gives up; the request is still on its way", lost))
    return steps


def read(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Read an intent that is known."""
    intent = world.intents[worker.order][worker.intent - 1]
    return [_learn(world, rules, worker, intent.status)]


def search(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """After a 500 look whether there is an intent all the same."""
    found = stripe.find(world, worker.order, worker.attempt)
    if found:
        status = world.intents[worker.order][found - 1].status
        return [_learn(world, rules, worker._replace(intent=found, then=""), status)]
    if worker.then == "broken again":
        declines = worker._replace(doing="decline", then="")
        return [Step("finds that the 500 made no intent", world, declines)]
    return [ends("finds no intent after the 500", world)]


def _learn(world: World, rules: Rules, worker: Worker, status: str) -> Step:
    """Stripe has said how an attempt stands."""
    label = f"hears from Stripe: {status}"
    worker = worker._replace(at=0, token=0)
    if status in ("broken", "broken again"):
        doing = "search" if rules.on(Guard.READ_AFTER_BROKEN_CREATE) else "decline"
        return Step(label, world, worker._replace(doing=doing, then=status))
    if not may_settle(world, rules, worker):
        return Step(label, world, worker._replace(doing="refuse"))
    known = world.node(worker).sales[worker.order].order.intent == worker.intent
    if status in stripe.APPROVED:
        first = "capture" if not rules.on(Guard.COMMIT_BEFORE_CAPTURE) else "commit"
        doing = first if worker.doing == "read" else "keep"
        return Step(label, world, worker._replace(doing=doing, then=first))
    if status in stripe.OVER:
        doing = "drop" if rules.on(Guard.DECLINE_CANCELS) else "decline"
        return Step(label, world, worker._replace(doing=doing, then="decline"))
    if known:
        return ends(label, world)
    return Step(label, world, worker._replace(doing="keep", then=""))


def refuse(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The intent is not the order's: void."""
    return move(world, rules, worker, "voiding", reason="mismatch")


def keep(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Remember the intent of an attempt under way, or of one being voided."""
    node, intent = world.node(worker), worker.intent
    redis, kept = scripts.order_move(
        node, rules, worker.order, worker.attempt, "paying", intent=intent
    )
    if kept:
        world = world.on_node(worker, redis)
        return [Step("remembers the intent", world, goes_on(worker))]
    return [Step("may not remember it: not paying", world, worker._replace(doing="keep late"))]


def keep_late(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Tell whoever voids the order which intent there is."""
    redis, kept = scripts.order_move(
        world.node(worker), rules, worker.order, worker.attempt, "voiding", intent=worker.intent
    )
    if kept:
        return [ends("remembers the intent, to be voided", world.on_node(worker, redis))]
    return [Step("may not remember it at all", world, worker._replace(doing="look back"))]


def look_back(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The order has moved on: is it bound to this intent?"""
    if world.node(worker).sales[worker.order].order.intent == worker.intent:
        return [ends("sees that the order has this intent", world)]
    worker = worker._replace(doing="drop", then="")
    return [Step("sees that the order has not this intent", world, worker)]


def commit(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The money is authorized: make the hold a sale. What comes next is read from the record."""
    redis, word, _ = scripts.hold_commit(
        world.node(worker), rules, worker.order, worker.attempt, worker.intent
    )
    return [ends(f"commits: {word}", world.on_node(worker, redis))]


def decline(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The attempt has failed for good; the hold has a grace for another card."""
    return move(
        world, rules, worker, "declined", fence=Guard.FENCE_OF_DECLINE, intent=worker.intent
    )
