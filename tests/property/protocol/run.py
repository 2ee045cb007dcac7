"""A run of ``settle``: what all of its steps have in common.

A step is one script on Redis or one request to Stripe, the unit in which a run can be overtaken or
can crash. A run knows only what it carries: ``Worker``.
"""

from typing import NamedTuple

from tests.property.protocol import scripts, stripe
from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.world import Worker, World

IDLE = Worker()


class Step(NamedTuple):
    """One outcome of a run's next step."""

    label: str
    world: World
    worker: Worker


def ends(label: str, world: World) -> Step:
    """The run ends with this step."""
    return Step(label, world, IDLE)


def goes_on(worker: Worker) -> Worker:
    """The run after a step that is followed by what the worker carries in ``then``."""
    return worker._replace(doing=worker.then, then="") if worker.then else IDLE


def may_settle(world: World, rules: Rules, worker: Worker) -> bool:
    """Whether an intent was made for this order and attempt, to the last detail."""
    if not rules.on(Guard.INTENT_IS_OURS):
        return True
    intent = world.intents[worker.order][worker.intent - 1]
    return intent.ours and intent.attempt == worker.attempt


def move(
    world: World,
    rules: Rules,
    worker: Worker,
    phase: str,
    *,
    fence: Guard = Guard.FENCE_OF_MOVES,
    intent: int = 0,
    reason: str = "",
) -> list[Step]:
    """Move the order along an edge, with which the run ends."""
    redis, moved = scripts.order_move(
        world.node(worker),
        rules,
        worker.order,
        worker.attempt,
        phase,
        fence=fence,
        intent=intent,
        reason=reason,
    )
    label = f"moves it to {phase}" if moved else f"may not move it to {phase}"
    return [ends(label, world.on_node(worker, redis))]


def wait(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """``WAIT``: has the replica what this connection wrote?"""
    if _has_replica(world, worker) or not rules.on(Guard.WAIT_WHERE_WRITTEN):
        return [Step("hears that the replica has it", world, goes_on(worker))]
    return [ends("hears that the replica has it not", world)]


def _has_replica(world: World, worker: Worker) -> bool:
    if worker.stale and world.old is not None:
        return False
    return world.replica is None or world.replica == world.primary


def drop(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Cancel an intent that shall not pay; then go on."""
    return [
        _cancelled(answer, rules, worker)
        for answer in stripe.cancel(world, rules, worker.order, worker.intent)
    ]


def _cancelled(answer: stripe.Answer, rules: Rules, worker: Worker) -> Step:
    on = goes_on(worker)
    status = answer.world.intents[worker.order][worker.intent - 1].status
    if answer.said == "canceled" or not rules.on(Guard.READ_AFTER_REFUSED_CANCEL):
        return Step(f"cancels the intent: {answer.said}", answer.world, on)
    if status == "refunded":
        return Step("finds it given back", answer.world, on)
    if status != "succeeded":
        return ends(f"cannot cancel it: {status}", answer.world)
    if not rules.on(Guard.REFUND_ONLY_THE_UNSOLD):
        refunded = stripe.refund(answer.world, worker.order, worker.intent)
        return Step("cannot cancel it, and refunds it", refunded, on)
    return Step("cannot cancel it: taken", answer.world, worker._replace(doing="spare"))


def spare(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The money is taken: refund it only if it cannot pay for the order."""
    order = world.node(worker).sales[worker.order].order
    undecided = order.phase in ("paying", "voiding")
    if undecided or (order.phase in scripts.SOLD and order.intent == worker.intent):
        return [ends("leaves it: the order may be paid by it", world)]
    refunded = stripe.refund(world, worker.order, worker.intent)
    return [Step("refunds it", refunded, goes_on(worker))]
