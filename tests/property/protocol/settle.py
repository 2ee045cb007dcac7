"""``settle``, one step at a time: what a run does next, and what it may learn by it.

A step is one script on Redis or one request to Stripe, the unit in which a run can be overtaken or
can crash. A run knows only what it carries: ``Worker``. When somebody else must act first, or when
the real one would read the record again, the run ends, for a new one may begin at any time.

    look ─► ask ─► create ─► keep ─► commit          paying
         ─► read ──┴─► drop ─► decline
         ─► secure ─► wait ─► capture ─► mark, fail     committed
         ─► find, weigh ─► adopt ─► again, give back ─► remember ─► close    voiding
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.property.protocol import scripts, stripe
from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.world import Order, Request, Worker, World

IDLE = Worker()


class Step(NamedTuple):
    """One outcome of a run's next step."""

    label: str
    world: World
    worker: Worker


def ends(label: str, world: World) -> Step:
    """The run ends with this step."""
    return Step(label, world, IDLE)


def _goes_on(worker: Worker) -> Worker:
    """The run after a step that is followed by what the worker carries in ``then``."""
    return worker._replace(doing=worker.then, then="") if worker.then else IDLE


def look(worker: Worker, order: Order) -> Worker:
    """Begin a run: read the record and see what comes next."""
    doing = ""
    if order.phase == "paying":
        doing = "read" if order.intent else "ask"
    elif order.phase == "committed":
        doing = "secure"
    elif order.phase == "voiding":
        doing = "weigh" if order.intent else "find" if order.asked else "remember"
    if not doing:
        return IDLE
    asks, voids = doing == "ask", order.phase == "voiding"
    return worker._replace(
        doing=doing,
        attempt=order.attempt,
        at=order.at if asks else 0,
        token=order.token if asks else 0,
        intent=order.intent,
        reason=order.reason if voids else "",
    )


# Paying


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
    if not _may_settle(world, rules, worker):
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


def _may_settle(world: World, rules: Rules, worker: Worker) -> bool:
    if not rules.on(Guard.INTENT_IS_OURS):
        return True
    intent = world.intents[worker.order][worker.intent - 1]
    return intent.ours and intent.attempt == worker.attempt


def refuse(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The intent is not the order's: void."""
    return _move(world, rules, worker, "voiding", reason="mismatch")


def keep(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Remember the intent of an attempt under way, or of one being voided."""
    node, intent = world.node(worker), worker.intent
    redis, kept = scripts.order_move(
        node, rules, worker.order, worker.attempt, "paying", intent=intent
    )
    if kept:
        world = world.on_node(worker, redis)
        return [Step("remembers the intent", world, _goes_on(worker))]
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


def drop(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Cancel an intent that shall not pay; then go on."""
    return [
        _cancelled(answer, rules, worker)
        for answer in stripe.cancel(world, rules, worker.order, worker.intent)
    ]


def _cancelled(answer: stripe.Answer, rules: Rules, worker: Worker) -> Step:
    on = _goes_on(worker)
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
    return [Step("refunds it", refunded, _goes_on(worker))]


def decline(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The attempt has failed for good; the hold has a grace for another card."""
    return _move(
        world, rules, worker, "declined", fence=Guard.FENCE_OF_DECLINE, intent=worker.intent
    )


# Committed


def secure(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Repeat the commit, to ask on the same connection who has it."""
    redis, word, wrote = scripts.hold_commit(
        world.node(worker), rules, worker.order, worker.attempt, worker.intent
    )
    world = world.on_node(worker, redis)
    if word != "COMMITTED":
        return [ends(f"repeats the commit: {word}", world)]
    waits = rules.on(Guard.CAPTURE_AFTER_WAIT) and wrote
    worker = worker._replace(doing="wait" if waits else "capture", then="capture")
    return [Step("repeats the commit", world, worker)]


def wait(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """``WAIT``: has the replica what this connection wrote?"""
    if _has_replica(world, worker) or not rules.on(Guard.WAIT_WHERE_WRITTEN):
        return [Step("hears that the replica has it", world, _goes_on(worker))]
    return [ends("hears that the replica has it not", world)]


def _has_replica(world: World, worker: Worker) -> bool:
    if worker.stale and world.old is not None:
        return False
    return world.replica is None or world.replica == world.primary


def capture(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Take the money."""
    return [
        _captured(answer, rules, worker)
        for answer in stripe.capture(world, rules, worker.order, worker.intent)
    ]


def _captured(answer: stripe.Answer, rules: Rules, worker: Worker) -> Step:
    world, said = answer.world, answer.said
    if said == "unavailable":
        return ends("has no intent to capture", world)
    status = world.intents[worker.order][worker.intent - 1].status
    looks = {"refused": Guard.READ_AFTER_REFUSED_CAPTURE, "broken": Guard.READ_AFTER_BROKEN_CAPTURE}
    if said in looks and not rules.on(looks[said]):
        status = "failed"
    label = f"captures: {said}, so it is {status}"
    if status in ("succeeded", "refunded"):
        return Step(label, world, worker._replace(doing="mark"))
    if status == "requires_capture":
        return ends(label, world)
    return Step(label, world, worker._replace(doing="fail"))


def mark(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """Write down that the money is ours."""
    return _move(world, rules, worker, "captured")


def fail(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The authorization is gone: the units go back on sale."""
    redis = scripts.order_fail(world.node(worker), rules, worker.order)
    return [ends("gives the units back", world.on_node(worker, redis))]


# Voiding


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
    if status in stripe.APPROVED and _may_settle(world, rules, worker):
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
    return [Step("adopts the intent", world.on_node(worker, redis), _goes_on(worker))]


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
    return _move(world, rules, worker, "voided")


def _move(
    world: World,
    rules: Rules,
    worker: Worker,
    phase: str,
    *,
    fence: Guard = Guard.FENCE_OF_MOVES,
    intent: int = 0,
    reason: str = "",
) -> list[Step]:
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


NEXT: dict[str, Callable[[World, Rules, Worker], list[Step]]] = {
    "ask": ask,
    "create": create,
    "read": read,
    "search": search,
    "refuse": refuse,
    "keep": keep,
    "keep late": keep_late,
    "look back": look_back,
    "commit": commit,
    "drop": drop,
    "spare": spare,
    "decline": decline,
    "secure": secure,
    "wait": wait,
    "capture": capture,
    "mark": mark,
    "fail": fail,
    "find": find,
    "weigh": weigh,
    "adopt": adopt,
    "again": again,
    "remember": remember,
    "close": close,
}
"""What each step does."""
