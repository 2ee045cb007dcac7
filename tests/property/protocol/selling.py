"""The steps of a run at an order that is committed: make sure it lasts, then take the money."""

from tests.property.protocol import scripts, stripe
from tests.property.protocol.guards import Guard
from tests.property.protocol.rules import Rules
from tests.property.protocol.run import Step, ends, move
from tests.property.protocol.world import Worker, World


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
    return move(world, rules, worker, "captured")


def fail(world: World, rules: Rules, worker: Worker) -> list[Step]:
    """The authorization is gone: the units go back on sale."""
    redis = scripts.order_fail(world.node(worker), rules, worker.order)
    return [ends("gives the units back", world.on_node(worker, redis))]
