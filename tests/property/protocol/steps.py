"""All that can happen next in a world, by whomever.

Exhaustive means: whatever is not excluded by the rules of the scenario is here, at any time, in any
order. Requests, webhooks, the poller and the sweep are all the same thing, *a run begins*.
"""

from collections.abc import Iterator

from tests.property.protocol import scripts, settle, stripe
from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.run import IDLE
from tests.property.protocol.search import By, Change
from tests.property.protocol.world import NAMES, Intent, Order, Redis, Request, Worker, World, put

SAID = ("declined", "voided", "failed")
"""Phases in which the shopper hears that nothing was charged."""
RESTING = ("captured", "failed", "declined", "voided", "")
"""Phases in which there is nothing for us to do."""


def changes(world: World, rules: Rules) -> Iterator[Change[World]]:
    """Everything that can happen next and makes a difference."""
    for source in (_runs, _shoppers, _sweep, _world, _faults):
        for change in source(world, rules):
            after = _remember(change.world, rules)
            if after != world:
                yield Change(change.by, change.label, after)


def _remember(world: World, rules: Rules) -> World:
    """Keep what shoppers were told, for every reader of a record tells it."""
    said = SAID if rules.on(Guard.SAID_ONLY_ONCE_VOIDED) else (*SAID, "voiding")
    told = world.told
    for redis in (world.primary, world.old):
        for number, sale in enumerate(redis.sales if redis else ()):
            if sale.order.phase in said:
                told = put(told, number, told[number] | 1 << promised(rules, sale.order))
    return world._replace(told=told, workers=tuple(sorted(world.workers)))


def promised(rules: Rules, about: Order | Intent) -> int:
    """What *not charged* is said of: the card; after data loss only the attempt, for a shopper may
    send the same card again, and both may be answered."""
    return about.token if rules.lossless else about.at


def _runs(world: World, rules: Rules) -> Iterator[Change[World]]:
    """Runs of ``settle`` begin, go on and crash."""
    seen: set[Worker] = set()
    for place, worker in enumerate(world.workers):
        if worker in seen:
            continue
        seen.add(worker)
        if not worker.doing:
            yield from _begins(world, rules, place)
            continue
        who = f"a run for {NAMES[worker.order]}{' at the old primary' if worker.stale else ''}"
        for step in settle.NEXT[worker.doing](world, rules, worker):
            after = step.world._replace(workers=put(world.workers, place, step.worker))
            yield Change(By.US, f"{who} {step.label}", after)
        if rules.crashes:
            crashed = world._replace(workers=put(world.workers, place, IDLE))
            yield Change(By.FAULT, f"{who} crashes before it could {worker.doing}", crashed)


def _begins(world: World, rules: Rules, place: int) -> Iterator[Change[World]]:
    for stale in (False, True) if world.old else (False,):
        for number in range(len(rules.wants)):
            asks = Worker(order=number, stale=stale)
            order = world.node(asks).sales[number].order
            run = settle.look(asks, order)
            if run.doing:
                after = world._replace(workers=put(world.workers, place, run))
                where = " at the old primary" if stale else ""
                label = f"a run for {NAMES[number]}{where} begins: {order.phase}"
                yield Change(By.US, label, after)
    if rules.reconcile and rules.on(Guard.STRAYS_ARE_CANCELLED):
        for number, intents in enumerate(world.intents):
            for one in range(1, len(intents) + 1):
                if _is_stray(world, number, one):
                    run = Worker("drop", number, intent=one)
                    after = world._replace(workers=put(world.workers, place, run))
                    yield Change(By.US, f"reconcile finds {NAMES[number]}'s stray {one}", after)


def _is_stray(world: World, number: int, one: int) -> bool:
    """An open intent that can never settle its order."""
    order, intent = world.primary.sales[number].order, world.intents[number][one - 1]
    if intent.status not in stripe.CANCELABLE:
        return False
    if order.phase in RESTING:
        return order.phase != "captured" or order.intent != one
    bound = order.intent == one or (order.intent == 0 and order.attempt == intent.attempt)
    return not bound


def _shoppers(world: World, rules: Rules) -> Iterator[Change[World]]:
    """Shoppers reserve, pay, try another card, give back; copies of what they sent arrive."""
    for number, name in enumerate(NAMES[: len(rules.wants)]):
        for node in (False, True) if world.old else (False,):
            at = Worker(order=number, stale=node)
            redis, where = world.node(at), " at the old primary" if node else ""
            hold = redis.sales[number].hold
            if rules.copies or not hold.state:
                after = scripts.hold_reserve(redis, rules, number)
                label = f"{name} reserves{where}"
                yield Change(By.SHOPPER, label, world.on_node(at, after))
            for token in _tokens(world, rules, number):
                begun = world.begun[number] + 1
                after = scripts.pay_begin(redis, rules, number, token, begun)
                if after != redis:
                    paying = world.on_node(at, after)
                    paying = paying._replace(begun=put(world.begun, number, begun))
                    yield Change(By.SHOPPER, f"{name} pays with card {token}{where}", paying)
            if rules.releases:
                after = scripts.hold_release(redis, rules, number)
                yield Change(By.SHOPPER, f"{name} releases{where}", world.on_node(at, after))


def _tokens(world: World, rules: Rules, number: int) -> list[int]:
    """The cards whose checkout may arrive. What is answered is not sent again, but for copies."""
    if world.begun[number] > rules.cards + rules.failovers:
        return []
    tokens = range(1, min(rules.cards, world.begun[number] + 1) + 1)
    return [
        one
        for one in tokens
        if rules.copies or not rules.lossless or not world.told[number] >> one & 1
    ]


def _sweep(world: World, rules: Rules) -> Iterator[Change[World]]:
    """Holds expire; the POS is given its events."""
    for number, (hold, order) in enumerate(world.primary.sales):
        due = hold.state == "active" and hold.left == 0
        if rules.late_sweep and due and number not in world.due:
            after = world._replace(due=world.due | {number})
            yield Change(By.US, f"a sweep reads that {NAMES[number]}'s hold is due", after)
        if number in world.due or (due and not rules.late_sweep):
            redis = scripts.hold_expire(world.primary, rules, number)
            after = world._replace(primary=redis, due=world.due - {number})
            yield Change(By.US, f"a sweep ends {NAMES[number]}'s hold", after)
        open_to_pos = ("captured",) if rules.on(Guard.EVENT_AFTER_CAPTURE) else scripts.SOLD
        if rules.relay and order.phase in open_to_pos and not world.delivered[number]:
            after = world._replace(delivered=put(world.delivered, number, value=True))
            yield Change(By.US, f"the POS gets {NAMES[number]}'s order", after)


def _world(world: World, rules: Rules) -> Iterator[Change[World]]:
    """Time passes, banks answer, requests arrive late, the replica catches up."""
    for number, name in enumerate(NAMES[: len(rules.wants)]):
        for one in range(1, len(world.intents[number]) + 1):
            for how, after in stripe.bank(world, rules, number, one):
                yield Change(By.WORLD, f"{name}'s bank {how}", after)
    for request in world.flying:
        yield from _lands(world, rules, request)
    if rules.time:
        yield Change(By.WORLD, "time passes", _on_all(world))
    if world.replica is not None and world.replica != world.primary:
        yield Change(By.WORLD, "the replica catches up", world._replace(replica=world.primary))


def _lands(world: World, rules: Rules, request: Request) -> Iterator[Change[World]]:
    left = tuple(one for one in world.flying if one != request)
    name = NAMES[request.order]
    for answer in stripe.create(world, rules, request):
        label = f"{name}'s late request reaches Stripe: {answer.said}"
        yield Change(By.WORLD, label, answer.world._replace(flying=left))
    yield Change(By.WORLD, f"{name}'s late request is lost", world._replace(flying=left))


def _on_all(world: World) -> World:
    def later(redis: Redis | None) -> Redis | None:
        return scripts.tick(redis) if redis else None

    return world._replace(
        primary=scripts.tick(world.primary), replica=later(world.replica), old=later(world.old)
    )


def _faults(world: World, rules: Rules) -> Iterator[Change[World]]:
    """The primary dies, or seems to; what the replica has not is lost."""
    if world.failovers and world.replica is not None:
        last = world.failovers == 1
        promoted = world._replace(
            primary=world.replica,
            replica=None if last else world.replica,
            failovers=world.failovers - 1,
        )
        hung_up = [
            IDLE if worker.doing == "wait" and rules.on(Guard.WAIT_WHERE_WRITTEN) else worker
            for worker in world.workers
        ]
        after = promoted._replace(workers=tuple(hung_up))
        yield Change(By.FAULT, "FAILOVER: the replica is the primary now", after)
        if rules.old_primary:
            stale = tuple(w._replace(stale=True) if w.doing else w for w in world.workers)
            after = promoted._replace(old=world.primary, workers=stale)
            yield Change(By.FAULT, "FAILOVER, and the old primary still answers", after)
    if world.old is not None:
        workers = tuple(IDLE if w.stale else w for w in world.workers)
        after = world._replace(old=None, workers=workers)
        yield Change(By.WORLD, "the old primary is gone", after)
