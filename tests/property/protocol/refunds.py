"""The game of refunds: a captured order of two coins, two callers who each want one or both back.

A refund is reserved in the record under its caller's key, then asked of Stripe by anybody any
number of times, then written down as done, with the order's next version. Callers repeat what they
get no answer to, runs crash, and a day passes after which Stripe has forgotten every key.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.property.protocol.guards import Guard
from tests.property.protocol.search import By, Change
from tests.property.protocol.world import put

CAPTURED = 2
WANTED = ((1, 2), (1,))
"""What each caller may want back; one key is for one amount, chosen when it is first used."""
RUNS = 2


class Refund(NamedTuple):
    """One refund in the record. The n of its idempotency key is its place there."""

    caller: int
    amount: int
    state: str = "pending"


class Run(NamedTuple):
    """A run of ``go_on``: the refund it is at, and what it does next."""

    doing: str = ""
    n: int = 0


class Books(NamedTuple):
    """Everything."""

    record: tuple[Refund, ...] = ()
    version: int = 1
    paid: tuple[tuple[int, int], ...] = ()
    """What Stripe gave back: (n, amount), n as in the refund's metadata."""
    keys: frozenset[int] = frozenset()
    """The n of the idempotency keys Stripe remembers."""
    asked: tuple[int, ...] = (0, 0)
    """By caller: what was asked for under its key, 0 before."""
    runs: tuple[Run, ...] = (Run(),) * RUNS
    day_over: bool = False


class Refunds:
    """Refunds, as the search plays them."""

    def __init__(self, without: Guard | None = None) -> None:
        self.without = without

    def on(self, guard: Guard) -> bool:
        """Whether a guard is on."""
        return guard is not self.without

    def begin(self) -> Books:
        """A captured order, and nobody wants anything yet."""
        return Books()

    def canonical(self, world: Books) -> Books:
        """Runs have no names."""
        return world._replace(runs=tuple(sorted(world.runs)))

    def changes(self, world: Books) -> Iterator[Change[Books]]:
        """Everything that can happen next."""
        for change in (*self._callers(world), *self._runs(world)):
            if self.canonical(change.world) != self.canonical(world):
                yield change
        # No run lives for a day.
        if not world.day_over and not any(run.doing for run in world.runs):
            later = world._replace(keys=frozenset(), day_over=True)
            yield Change(By.FAULT, "a day passes; Stripe forgets all keys", later)

    def _callers(self, world: Books) -> Iterator[Change[Books]]:
        for caller, amounts in enumerate(WANTED):
            for amount in (world.asked[caller],) if world.asked[caller] else amounts:
                after = self._reserve(world, caller, amount)
                if after != world:
                    after = after._replace(asked=put(world.asked, caller, amount))
                    yield Change(By.SHOPPER, f"caller {caller} wants {amount} back", after)

    def _reserve(self, world: Books, caller: int, amount: int) -> Books:
        """``refund_begin``: reserve the amount under the caller's key."""
        known = any(one.caller == caller for one in world.record)
        if known and self.on(Guard.REFUND_ONCE_PER_KEY):
            return world
        if len(world.record) == 3:
            return world  # A bound for a search without the guard above.
        reserved = sum(one.amount for one in world.record if one.state != "failed")
        if reserved + amount > CAPTURED and self.on(Guard.REFUND_RESERVES_FIRST):
            return world
        return world._replace(record=(*world.record, Refund(caller, amount)))

    def _runs(self, world: Books) -> Iterator[Change[Books]]:
        for place, run in enumerate(world.runs):
            if not run.doing:
                for n, refund in enumerate(world.record, 1):
                    if refund.state == "pending":
                        looks = self.on(Guard.REFUND_LOOKS_FIRST)
                        begun = Run("look" if looks else "ask", n)
                        yield self._goes_on(world, place, begun, f"a run begins with refund {n}")
                continue
            label = f"a run crashes before it could {run.doing} for refund {run.n}"
            crashed = world._replace(runs=put(world.runs, place, Run()))
            yield Change(By.FAULT, label, crashed)
            yield self._step(world, place, run)

    def _goes_on(self, world: Books, place: int, run: Run, label: str) -> Change[Books]:
        return Change(By.US, label, world._replace(runs=put(world.runs, place, run)))

    def _step(self, world: Books, place: int, run: Run) -> Change[Books]:
        n = run.n
        if run.doing == "look":
            there = any(one == n for one, _ in world.paid)
            found = run._replace(doing="finish" if there else "ask")
            return self._goes_on(world, place, found, f"a run looks for refund {n}: {there}")
        if run.doing == "ask":
            paid = self._ask(world, n)
            if paid is None:
                failed = self._end(world, n, "failed")
                return self._goes_on(failed, place, Run(), f"Stripe refuses refund {n}: it fails")
            return self._goes_on(paid, place, run._replace(doing="finish"), f"a run asks for {n}")
        return self._goes_on(self._end(world, n, "done"), place, Run(), f"refund {n} is done")

    def _ask(self, world: Books, n: int) -> Books | None:
        """Ask Stripe, under the key of this n; ``None`` when it refuses."""
        key = n if self.on(Guard.REFUND_KEY_NAMES_THE_REFUND) else 1
        keyed = self.on(Guard.REFUND_HAS_A_KEY)
        if keyed and key in world.keys:
            return world
        amount = world.record[n - 1].amount
        if sum(paid for _, paid in world.paid) + amount > CAPTURED:
            return None
        keys = world.keys | {key} if keyed else world.keys
        return world._replace(paid=tuple(sorted((*world.paid, (n, amount)))), keys=keys)

    def _end(self, world: Books, n: int, state: str) -> Books:
        """``refund_finish``: the refund's end and the order's next version, in one step."""
        refund = world.record[n - 1]
        if refund.state != "pending" and self.on(Guard.REFUND_ENDS_ONCE):
            return world
        record = put(world.record, n - 1, refund._replace(state=state))
        return world._replace(record=record, version=world.version + (state == "done"))

    def complaints(self, world: Books) -> Iterator[str]:
        """What is wrong, at whatever moment."""
        if sum(one.amount for one in world.record if one.state != "failed") > CAPTURED:
            yield "more was promised back than was captured"
        if len({n for n, _ in world.paid}) < len(world.paid):
            yield "one refund was paid twice"
        if world.version != 1 + sum(one.state == "done" for one in world.record):
            yield "the POS heard of a refund twice, or not at all"
        if any(
            one.state == "failed" and n in dict(world.paid) for n, one in enumerate(world.record, 1)
        ):
            yield "a refund failed, and its money went back"

    def at_rest(self, world: Books) -> Iterator[str]:
        """What is wrong when nothing is under way."""
        for caller, amount in enumerate(world.asked):
            mine = [n for n, one in enumerate(world.record, 1) if one.caller == caller]
            paid = sum(coins for n, coins in world.paid if n in mine)
            if paid != amount:
                yield f"caller {caller} wanted {amount} back, and {paid} went"

    def ends(self, world: Books) -> Iterator[str]:
        """How much went back."""
        yield f"{sum(amount for _, amount in world.paid)} went back"
