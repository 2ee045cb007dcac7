"""Were calls that overlapped answered as if they had come one after the other?

A ``Recorder`` notes when each call was made, when it was answered, and how. ``check`` looks for an
order of the calls in which a sequential ``Model`` gives the very same answers, each call taking
effect at one moment between being made and being answered: Wing and Gong's search, with Lowe's
memory of what was searched before.

A history is cut wherever no answer is awaited; each window is searched from every state in which
the one before may have ended. A call without an answer, cancelled or lost, may take effect at any
later time or never: it stays open across windows until the model says that it is spent. Searching
is bounded; where a bound is met the history is undecided, which is neither yes nor no.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Call = TypeVar("Call")
Call_contra = TypeVar("Call_contra", contravariant=True)
Answer = TypeVar("Answer")
Answer_contra = TypeVar("Answer_contra", contravariant=True)

MOST_NODES = 50_000
"""Steps of the search in one window."""
MOST_OPEN = 64
"""Calls without an answer that may be open at once."""


class Model(Protocol[State, Call_contra, Answer_contra]):
    """What calls do when they come one after the other.

    The search relies on two habits of idempotent calls. A call that has had an effect has none when
    it is repeated. And once a call may be answered something without an effect, no effect it has
    later goes with that answer.
    """

    def step(self, state: State, call: Call_contra, answer: Answer_contra | None) -> State | None:
        """The state after a call; ``None`` when it cannot have this answer in this state.

        Without an answer, every one is possible; the state itself when nothing happens.
        """

    def spent(self, state: State, call: Call_contra) -> bool:
        """Whether from now on a call can never again change anything."""


@dataclass(eq=False)
class Operation(Generic[Call, Answer]):
    """One call of a client, from its making to its answer."""

    client: str
    call: Call
    made: int
    answered: int | None = None
    """``None``: whether and when it took effect is not known."""
    answer: Answer | None = None
    repeated: bool = False
    """It may have been sent more than once, and have taken effect before it was answered."""

    def __str__(self) -> str:
        until = "" if self.answered is None else self.answered
        return f"[{self.made}..{until}] {self.client}: {self.call} -> {self.answer or 'unknown'}"


@dataclass
class Recorder(Generic[Call, Answer]):
    """Writes a history down as it happens."""

    clock: Callable[[], int]
    """Never goes back; two calls at the same moment count as overlapping."""
    history: list[Operation[Call, Answer]] = field(default_factory=list)

    async def record(
        self, client: str, call: Call, work: Awaitable[Answer], *, repeated: bool = False
    ) -> Answer:
        """Await a call's answer; whatever is raised instead leaves its outcome unknown."""
        operation = Operation[Call, Answer](client, call, self.clock(), repeated=repeated)
        self.history.append(operation)
        operation.answer = await work
        operation.answered = self.clock()
        return operation.answer


@dataclass
class Verdict:
    """What the search has found out."""

    windows: int = 0
    nodes: int = 0
    widest: int = 0
    """Most calls in one window."""
    wrong: str = ""
    """The window whose answers have no order, and how far the search came."""
    undecided: str = ""
    """The bound that was met."""

    @property
    def good(self) -> bool:
        """The history is linearizable."""
        return not self.wrong and not self.undecided


def windows(
    history: Sequence[Operation[Call, Answer]],
) -> Iterator[list[Operation[Call, Answer]]]:
    """Cut a history wherever no answer is awaited."""
    window: list[Operation[Call, Answer]] = []
    last_answer: int | None = None
    for operation in sorted(history, key=lambda one: one.made):
        if last_answer is not None and operation.made > last_answer:
            yield window
            window, last_answer = [], None
        window.append(operation)
        if operation.answered is not None:
            last_answer = max(last_answer or operation.answered, operation.answered)
    if window:
        yield window


def check(
    model: Model[State, Call, Answer],
    start: State,
    history: Sequence[Operation[Call, Answer]],
    most_nodes: int = MOST_NODES,
) -> Verdict:
    """Look for an order of the calls that explains every answer, window by window."""
    verdict = Verdict()
    ends, still_open = {start}, list[Operation[Call, Answer]]()
    for window in windows(history):
        search = _Search(model, [*still_open, *window], ends)
        verdict.windows += 1
        verdict.widest = max(verdict.widest, len(window))
        decided = search.run(most_nodes)
        verdict.nodes += len(search.seen)
        ends, still_open = search.ends, search.still_open()
        where = f"window {verdict.windows} of {len(window)} calls"
        if not decided:
            verdict.undecided = f"{where}: more than {most_nodes} steps"
        elif not ends:
            verdict.wrong = f"{where}, {search.furthest} in order:\n" + "\n".join(map(str, window))
        elif len(still_open) > MOST_OPEN:
            verdict.undecided = f"{where}: more than {MOST_OPEN} calls without an answer"
        if not verdict.good:
            break
    return verdict


_Node = tuple[int, State]
"""Answered calls that are in order already, a bit each, and the state after them."""


class _Search(Generic[State, Call, Answer]):
    """All the orders of one window."""

    def __init__(
        self,
        model: Model[State, Call, Answer],
        calls: list[Operation[Call, Answer]],
        starts: set[State],
    ) -> None:
        self.model, self.calls = model, calls
        self.answered = sum(1 << n for n, one in enumerate(calls) if one.answered is not None)
        self.seen: set[_Node[State]] = {(0, state) for state in starts}
        self.ends = set[State]()
        self.furthest = 0

    def run(self, most_nodes: int) -> bool:
        """Search; ``False`` when there is more to search than allowed."""
        left = list(self.seen)
        while left:
            node = left.pop()
            done, state = node
            self.furthest = max(self.furthest, done.bit_count())
            if done == self.answered:
                self.ends.add(state)
                continue
            new = set(self._next(node)) - self.seen
            self.seen |= new
            left.extend(new)
            if len(self.seen) > most_nodes:
                return False
        return True

    def _next(self, node: _Node[State]) -> list[_Node[State]]:
        """The nodes one call further: any that was made before the first answer still to come."""
        done, state = node
        pending = [(1 << n, one) for n, one in enumerate(self.calls) if not done >> n & 1]
        first_answer = min(one.answered for _, one in pending if one.answered is not None)
        found: list[_Node[State]] = []
        for bit, one in pending:
            if one.made > first_answer:
                continue
            if one.answered is not None:
                after = self.model.step(state, one.call, one.answer)
                if after == state:
                    # Nothing is lost by having it now: see the habits of a model.
                    return [(done | bit, state)]
                if after is not None:
                    found.append((done | bit, after))
            if one.answered is None or one.repeated:
                after = self.model.step(state, one.call, None)
                if after is not None and after != state:
                    # Once it has had its effect it may stay: it has no other.
                    found.append((done, after))
        return found

    def still_open(self) -> list[Operation[Call, Answer]]:
        """The calls that may yet have an effect after this window."""
        unanswered = (one for one in self.calls if one.answered is None)
        return [
            one
            for one in unanswered
            if not all(self.model.spent(state, one.call) for state in self.ends)
        ]
