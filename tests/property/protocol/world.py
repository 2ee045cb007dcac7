"""The whole world of a payment as one immutable value: Redis, Stripe, our processes, the shoppers.

Everything that a step may depend on is here, and nothing else, so that two histories which lead to
the same value have the same future. Times are what is *left* of them, in ticks, so that there is no
clock to run away; a tick is longer than any request lives.
"""

from typing import NamedTuple, TypeVar

T = TypeVar("T")

NAMES = "ab"
"""The shoppers. Each has one hold, and so one order."""


class Hold(NamedTuple):
    """A shopper's claim on units."""

    state: str = ""
    """Empty before it is reserved; then active, and at last committed, released or expired."""
    left: int = 0
    """Ticks until its deadline."""
    ends: int = 0
    """How often it was resolved."""


class Order(NamedTuple):
    """The record of an order's payment, as ``order:<id>`` keeps it."""

    phase: str = ""
    attempt: int = 0
    at: int = 0
    """The moment the attempt began. Unlike its number it never comes again, even after a failover
    that lost the attempt."""
    token: int = 0
    """The payment method the shopper sent: 1 is the first card, 2 the second."""
    intent: int = 0
    """Which of the order's intents it is bound to, counted from 1; 0 when none is known."""
    asked: bool = False
    """Whether Stripe may have been asked for this attempt's intent."""
    reason: str = ""
    budget: int = 0
    """Ticks the payment may still take at Stripe."""
    queue: int = 0
    """Ticks our own queue may still keep it waiting before Stripe is asked."""
    units: tuple[int, ...] = ()
    """The numbers of the units sold."""
    paid_by: int = 0
    """The intent which the event for the POS names; 0 when there is no event."""


class Sale(NamedTuple):
    """What Redis keeps for one shopper."""

    hold: Hold = Hold()
    order: Order = Order()


class Redis(NamedTuple):
    """One shop on one Redis node. A script is one step on it."""

    sales: tuple[Sale, ...]
    held: int = 0
    committed: int = 0
    next_unit: int = 1


class Intent(NamedTuple):
    """A PaymentIntent, as Stripe keeps it."""

    attempt: int
    at: int
    token: int
    status: str
    first: str
    """Its status in the reply to its creation, which is what the idempotency key replays."""
    ours: bool = True
    """Whether amount, currency and the rest of its metadata are the order's."""


class Request(NamedTuple):
    """A request for an intent that is on its way; whoever sent it is gone."""

    order: int
    attempt: int
    at: int
    token: int


class Worker(NamedTuple):
    """One run of ``settle``, somewhere: what it does next, and all it knows."""

    doing: str = ""
    """The step it does next; empty when there is no such run."""
    order: int = 0
    attempt: int = 0
    at: int = 0
    token: int = 0
    intent: int = 0
    reason: str = ""
    then: str = ""
    """What it does after the next step, where that is not the same for all who do it."""
    stale: bool = False
    """Connected to the old primary, which does not know that it is none any more."""


class World(NamedTuple):
    """Everything."""

    primary: Redis
    intents: tuple[tuple[Intent, ...], ...]
    """Stripe's intents, by order."""
    workers: tuple[Worker, ...]
    told: tuple[int, ...]
    """By order: the tokens (as bits) whose shopper heard that nothing was charged."""
    begun: tuple[int, ...]
    """By order: how many attempts ever began."""
    delivered: tuple[bool, ...]
    """By order: whether the POS has its event."""
    flying: tuple[Request, ...] = ()
    stored: frozenset[tuple[str, int, int]] = frozenset()
    """Idempotency keys (what, order, at) under which Stripe replays a failure."""
    due: frozenset[int] = frozenset()
    """Orders whose holds a sweep has read as due."""
    replica: Redis | None = None
    """What the replica has; ``None`` when no failover can come, so that it is no matter."""
    old: Redis | None = None
    """The old primary, as long as somebody can still reach it."""
    failovers: int = 0
    """How many may still come."""
    errors: int = 0
    """How many 500s Stripe may still answer."""

    def node(self, worker: Worker) -> Redis:
        """The node a worker talks to."""
        return self.old if worker.stale and self.old is not None else self.primary

    def on_node(self, worker: Worker, redis: Redis) -> "World":
        """The world after a worker's script ran on its node."""
        if worker.stale and self.old is not None:
            return self._replace(old=redis)
        return self._replace(primary=redis)

    def with_intent(self, order: int, number: int, intent: Intent) -> "World":
        """The world after Stripe changed an intent of an order, or made the next one."""
        mine = self.intents[order]
        changed = (*mine[: number - 1], intent, *mine[number:])
        return self._replace(intents=put(self.intents, order, changed))


def put(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    """A tuple with one value changed."""
    return (*values[:place], value, *values[place + 1 :])
