"""The Lua scripts as pure functions: each is one atomic step on a Redis node.

They bear the names of the files in ``lua/`` and keep their order of checks. Only what decides about
money and units is here; ``EDGES`` is compared with the scripts' text by a test.
"""

from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import BUDGET_TICKS, GRACE_TICKS, HOLD_TICKS, Rules
from tests.property.protocol.world import Hold, Order, Redis, Sale, put

EDGES = {
    "paying": {"paying", "declined", "voiding"},
    "voiding": {"voiding", "voided"},
    "committed": {"committed", "captured"},
}
"""Where ``order_move`` may move an order."""
SOLD = ("committed", "captured")


def _with(redis: Redis, number: int, hold: Hold, order: Order) -> Redis:
    return redis._replace(sales=put(redis.sales, number, Sale(hold, order)))


def _end(hold: Hold, state: str) -> Hold:
    return hold._replace(state=state, ends=hold.ends + 1)


def hold_reserve(redis: Redis, rules: Rules, number: int) -> Redis:
    """Claim units. The hold's id is made of the caller's key, so that a copy finds it."""
    hold, order = redis.sales[number]
    wanted = rules.wants[number]
    if hold.state and rules.on(Guard.RESERVE_ONCE):
        return redis
    if rules.on_hand - redis.held - redis.committed < wanted:
        return redis
    redis = redis._replace(held=redis.held + wanted)
    return _with(redis, number, hold._replace(state="active", left=HOLD_TICKS), order)


def _may_begin(hold: Hold, order: Order, rules: Rules, token: int) -> bool:
    if hold.state != "active" or hold.left == 0 or order.phase in (*SOLD, "failed"):
        return False
    if order.phase == "paying":
        same = token == order.token
        guard = Guard.SAME_REQUEST_SAME_ATTEMPT if same else Guard.ATTEMPT_AFTER_A_DEFINITE_NO
        return not rules.on(guard)
    if token <= order.token and rules.on(Guard.LATE_COPY_BEGINS_NOTHING):
        return False  # Cards are tried in order: this one was tried before.
    if order.phase == "voiding":
        return not rules.on(Guard.NO_ATTEMPT_WHILE_VOIDING)
    return True


def pay_begin(redis: Redis, rules: Rules, number: int, token: int, at: int) -> Redis:
    """Begin a payment, or the next attempt after a decline."""
    hold, order = redis.sales[number]
    if not _may_begin(hold, order, rules, token):
        return redis
    budget = order.budget if order.phase else BUDGET_TICKS
    begun = Order("paying", order.attempt + 1, at, token, budget=budget, queue=rules.queue)
    if rules.on(Guard.HOLD_LIVES_WITH_ITS_PAYMENT):
        hold = hold._replace(left=max(hold.left, budget + rules.queue))
    return _with(redis, number, hold, begun)


def order_move(
    redis: Redis,
    rules: Rules,
    number: int,
    attempt: int,
    phase: str,
    *,
    fence: Guard = Guard.FENCE_OF_MOVES,
    intent: int = 0,
    reason: str = "",
) -> tuple[Redis, bool]:
    """Move an order along an edge, or keep what was learnt; ``False`` when it is refused."""
    hold, order = redis.sales[number]
    if phase not in EDGES.get(order.phase, ()) and phase != order.phase:
        return redis, False
    if order.attempt != attempt and rules.on(fence):
        return redis, False
    order = order._replace(
        phase=phase, intent=intent or order.intent, reason=reason or order.reason
    )
    if phase == "declined" and hold.state == "active" and hold.left:
        hold = hold._replace(left=max(1, min(GRACE_TICKS, order.budget)))
    if phase == "voided" and rules.pinned and hold.state == "active":
        hold = hold._replace(left=0)
    return _with(redis, number, hold, order), True


def order_asked(redis: Redis, rules: Rules, number: int, attempt: int) -> tuple[Redis, bool]:
    """``order_move`` just before Stripe is asked: the time in our queue did not count."""
    redis, moved = order_move(redis, rules, number, attempt, "paying")
    hold, order = redis.sales[number]
    if not moved or not rules.on(Guard.ASKED_IS_WRITTEN_FIRST):
        return redis, moved
    if not hold.left:
        order = order._replace(budget=0)  # It has lapsed in the queue, and is not revived.
    elif not order.asked and rules.on(Guard.QUEUE_DOES_NOT_COUNT):
        hold = hold._replace(left=order.budget)
    return _with(redis, number, hold, order._replace(asked=True, queue=0)), True


def _sell(redis: Redis, rules: Rules, number: int, intent: int) -> Redis:
    """Number the units and append the event for the POS, in the same step."""
    hold, order = redis.sales[number]
    wanted = rules.wants[number]
    units = tuple(range(redis.next_unit, redis.next_unit + wanted))
    bound = intent if rules.on(Guard.COMMIT_BINDS_THE_INTENT) else order.intent
    order = order._replace(
        phase="committed", intent=bound, reason="", units=units, paid_by=intent, budget=0
    )
    redis = _with(redis, number, hold, order)
    return redis._replace(committed=redis.committed + wanted, next_unit=redis.next_unit + wanted)


def hold_commit(
    redis: Redis, rules: Rules, number: int, attempt: int, intent: int
) -> tuple[Redis, str, bool]:
    """Make a hold a sale; the reply's word, and whether anything was written."""
    hold, order = redis.sales[number]
    if order.phase in SOLD:
        if order.intent != intent and rules.on(Guard.REPEATED_COMMIT_IS_THE_SAME):
            return redis, "REFUSED", False
        return redis, "COMMITTED", rules.on(Guard.REPEATED_COMMIT_WRITES)
    settling = order.phase == "paying" or (order.phase == "voiding" and rules.pinned)
    if rules.on(Guard.COMMIT_NEEDS_THE_HOLD) and not (settling and hold.state == "active"):
        return redis, "REFUSED", False
    if order.attempt != attempt and rules.on(Guard.FENCE_OF_COMMIT):
        return redis, "REFUSED", False
    redis = _with(redis, number, _end(hold, "committed")._replace(left=0), order)
    redis = redis._replace(held=redis.held - rules.wants[number])
    return _sell(redis, rules, number, intent), "COMMITTED", True


def hold_again(
    redis: Redis, rules: Rules, number: int, attempt: int, intent: int
) -> tuple[Redis, str]:
    """Sell what was approved after the hold had lapsed, if the units are still there."""
    order = redis.sales[number].order
    if order.phase in SOLD:
        return redis, "COMMITTED"
    expired = order.reason == "expired" or not rules.on(Guard.AGAIN_ONLY_AFTER_EXPIRY)
    if order.phase != "voiding" or order.attempt != attempt or not expired:
        return redis, "REFUSED"
    left = rules.on_hand - redis.held - redis.committed
    if left < rules.wants[number] and rules.on(Guard.AGAIN_LOOKS_AT_THE_STOCK):
        return redis, "GONE"
    return _sell(redis, rules, number, intent), "COMMITTED"


def hold_expire(redis: Redis, rules: Rules, number: int) -> Redis:
    """End a hold that the caller read as due; it is looked at again."""
    hold, _ = redis.sales[number]
    over = hold.state == "active" and hold.left == 0
    if not over and rules.on(Guard.EXPIRY_LOOKS_AGAIN):
        return redis
    return _let_go(redis, rules, number, "expired")


def hold_release(redis: Redis, rules: Rules, number: int) -> Redis:
    """Give a hold back on its shopper's word."""
    if redis.sales[number].hold.state != "active":
        return redis
    return _let_go(redis, rules, number, "released")


def _let_go(redis: Redis, rules: Rules, number: int, why: str) -> Redis:
    """The units go back on sale, and a payment under way is to be voided.

    A payment whose method may take the money at once keeps its units until it is cancelled.
    """
    hold, order = redis.sales[number]
    pinned = rules.pinned and order.phase in ("paying", "voiding")
    if order.phase == "paying":
        order = order._replace(phase="voiding", reason=why)
    elif order.phase == "declined":
        order = order._replace(phase="voided", reason=why, budget=0)
    if pinned and rules.on(Guard.PINNED_KEEPS_ITS_UNITS):
        return _with(redis, number, hold, order)
    if why == "released":
        # No deadline matters any more.
        hold, order = hold._replace(left=0), order._replace(budget=0, queue=0)
    redis = redis._replace(held=redis.held - rules.wants[number])
    return _with(redis, number, _end(hold, why), order)


def order_fail(redis: Redis, rules: Rules, number: int) -> Redis:
    """Undo a commit whose money could not be captured."""
    hold, order = redis.sales[number]
    if order.phase == "failed" and rules.on(Guard.FAILS_ONCE):
        return redis
    if order.phase not in ("committed", "failed"):
        return redis
    failed = order._replace(phase="failed", units=())
    redis = redis._replace(committed=redis.committed - rules.wants[number])
    return _with(redis, number, hold, failed)


def tick(redis: Redis) -> Redis:
    """Time passes. What Stripe has not been asked for yet uses none of its budget."""
    sales = redis.sales
    for number, (hold, order) in enumerate(sales):
        if hold.state != "active":
            continue
        queued = order.phase == "paying" and not order.asked
        later = order._replace(
            budget=order.budget if queued else max(0, order.budget - 1),
            queue=max(0, order.queue - 1),
        )
        sales = put(sales, number, Sale(hold._replace(left=max(0, hold.left - 1)), later))
    return redis._replace(sales=sales)
