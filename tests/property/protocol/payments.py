"""The game of a payment: where it begins, what can happen, and what must be true."""

from collections.abc import Iterator

from tests.property.protocol import invariants, steps
from tests.property.protocol.rules import Rules
from tests.property.protocol.run import IDLE
from tests.property.protocol.search import Change
from tests.property.protocol.world import Intent, Redis, Sale, World


class Payments:
    """A scenario, as the search plays it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def begin(self) -> World:
        """The world in which nothing has happened yet."""
        return begin(self.rules)

    def changes(self, world: World) -> Iterator[Change[World]]:
        """Everything that can happen next."""
        return steps.changes(world, self.rules)

    def canonical(self, world: World) -> World:
        """The world that stands for all that are the same but for names."""
        return canonical(world, self.rules)

    def complaints(self, world: World) -> Iterator[str]:
        """What is wrong, at whatever moment."""
        return invariants.complaints(world, self.rules)

    def at_rest(self, world: World) -> Iterator[str]:
        """What is wrong when nothing is under way."""
        return invariants.at_rest(world, self.rules)

    def ends(self, world: World) -> Iterator[str]:
        """How far orders have come, and by which card."""
        for hold, order in world.primary.sales:
            if order.phase:
                yield f"{order.phase} by card {order.token}"
            if hold.state == "expired" and order.phase == "captured":
                yield "sold after the deadline"


def begin(rules: Rules) -> World:
    """The world in which nothing has happened yet."""
    shoppers = len(rules.wants)
    redis = Redis((Sale(),) * shoppers)
    foreign = (Intent(1, 0, 0, "requires_capture", "requires_capture", ours=False),)
    return World(
        primary=redis,
        intents=((foreign if rules.foreign else ()),) + ((),) * (shoppers - 1),
        workers=(IDLE,) * rules.workers,
        told=(0,) * shoppers,
        begun=(0,) * shoppers,
        delivered=(False,) * shoppers,
        replica=redis if rules.failovers else None,
        failovers=rules.failovers,
        errors=rules.errors,
    )


def canonical(world: World, rules: Rules) -> World:
    """One of the two worlds that differ only in which shopper is called a.

    Sound where both want the same, for then every step has its mirror image. It need not find all
    pairs: one that is missed is only visited twice.
    """
    if len(rules.wants) != 2 or rules.wants[0] != rules.wants[1] or rules.foreign:
        return world
    first, second = ((world.primary.sales[n], world.intents[n], world.begun[n]) for n in (0, 1))
    return _mirrored(world) if first > second else world


def _mirrored(world: World) -> World:
    def turned(redis: Redis | None) -> Redis | None:
        return redis._replace(sales=redis.sales[::-1]) if redis else None

    workers = (w._replace(order=1 - w.order) if w.doing else w for w in world.workers)
    flying = (request._replace(order=1 - request.order) for request in world.flying)
    return world._replace(
        primary=world.primary._replace(sales=world.primary.sales[::-1]),
        replica=turned(world.replica),
        old=turned(world.old),
        intents=world.intents[::-1],
        workers=tuple(sorted(workers)),
        told=world.told[::-1],
        begun=world.begun[::-1],
        delivered=world.delivered[::-1],
        flying=tuple(sorted(flying)),
        stored=frozenset((what, 1 - order, at) for what, order, at in world.stored),
        due=frozenset(1 - order for order in world.due),
    )
