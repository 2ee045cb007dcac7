"""The steps of a run at an order that is voiding: sell it after all, or give the money back."""

from tests.property.protocol import scripts, stripe
from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.run import Step, ends, goes_on, may_settle, move
from tests.property.protocol.world import Worker, World


def find(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Stripe was asked, and nobody knows the answer."""
    found = stripe.find(world, worker.order, worker.attempt)
    if not rules.on(Guard.VOID_LOOKS_FOR_LOST_INTENT):
        found = 0
    if found:
        return [Step("finds an intent", world, worker._replace(doing="weigh", intent=found))]
    if not _may_still_come(world, worker.order) or not rules.on(Guard.QUARANTINE):
        return [Step("is sure: there is no intent", world, worker._replace(doing="remember"))]
    return [ends("finds no intent yet", world)]


def _may_still_come(world: World, number: int) -> bool:
    """The quarantine, without a clock: it is over when nothing can be on its way any more."""
    asking = any(one.doing == "create" and one.order == number for one in world.workers)
    return asking or any(request.order == number for request in world.flying)


def weigh(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Approved late, or to be cancelled?"""
    intent = world.intents[worker.order][worker.intent - 1]
    status = intent.status
    doing, then = "drop", "remember"
    if not rules.on(Guard.CANCEL_BEFORE_VOIDED):
        doing, then = "remember", ""
    if status in stripe.APPROVED and may_settle(world, rules, worker):
        doing, then = _late(rules, worker, status) or (doing, then)
    label = f"reads what is to be voided: {status}"
    return [Step(label, world, worker._replace(doing=doing, then=then))]


def _late(rules: Rules, worker: Worker, status: str) -> tuple[str, str] | None:
    """How an approval that came late may still be a sale."""
    expired = worker.reason == "expired" or not rules.on(Guard.AGAIN_ONLY_AFTER_EXPIRY)
    own = expired and rules.on(Guard.PINNED_SELLS_WHAT_IT_HOLDS)
    if rules.pinned and (status == "succeeded" or own):
        return "adopt", "commit"
    return ("adopt", "again") if expired else None


def adopt(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Remember the intent that was found, before it sells."""
    redis, kept = scripts.order_move(
        world.node(worker), rules, worker.order, worker.attempt, "voiding", intent=worker.intent
    )
    if not kept:
        return [ends("may not adopt the intent", world)]
    return [Step("adopts the intent", world.on_node(worker, redis), goes_on(worker))]


def again(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Hold the units again and sell them, if they are still there."""
    redis, word = scripts.hold_again(
        world.node(worker), rules, worker.order, worker.attempt, worker.intent
    )
    if word == "GONE":
        return [Step("the units are gone", world, worker._replace(doing="drop", then="remember"))]
    return [ends(f"holds again: {word}", world.on_node(worker, redis))]


def remember(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Write again that the order is being voided, to wait until no failover can forget it."""
    if not rules.on(Guard.VOIDING_IS_DURABLE):
        return close(world, rules, worker)
    redis, moved = scripts.order_move(
        world.node(worker), rules, worker.order, worker.attempt, "voiding", reason=worker.reason
    )
    world = world.on_node(worker, redis)
    if not moved:
        return [ends("may not void it any more", world)]
    worker = worker._replace(doing="wait", then="close", reason="")
    return [Step("writes that it is being voided", world, worker)]


def close(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Nothing was charged, and nothing is authorized."""
    return move(world, rules, worker, "voided")
