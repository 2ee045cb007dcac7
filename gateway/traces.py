"""Where a request is on its way through our processes, and how long each step took.

A purchase is followed by its W3C ``traceparent``: through a socket's commands, HTTP, the order's
record in Redis, the POS' event, and the delivery. Everybody passes it on. A span is one step; spans
are made only where a ``Tracer`` has somewhere to send them (``otlp``) and the trace is sampled;
everywhere else ``span`` finds nothing to do, which costs next to nothing.

The trace, and the ids that log lines carry, go with the task, in context variables. Names and
attributes of spans are those of OpenTelemetry's semantic conventions where there are any; who the
shopper is never stands in them.
"""

import asyncio
import contextlib
import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import Self

Value = str | int | bool
Attributes = Mapping[str, Value]
NONE: Attributes = MappingProxyType({})

MOST_PER_S = 200
"""Traces one process takes part in a second: whoever may ask us anything may ask for a trace."""

TRACEPARENT = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"
"""The form of version 00, for message types."""

_ANY_VERSION = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED, _KNOWN_FLAGS = 1, 3
_FAILURE = 500
"""The least status, as in HTTP, of an error that is no refusal."""
_SAMPLED_BY = 56
"""Bits at the end of a trace's id that decide whether it is sampled, as W3C level 2 asks."""


class Kind(StrEnum):
    """Which side of a call a span is, as OpenTelemetry tells them apart."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"


@dataclass(frozen=True, slots=True)
class Trace:
    """A place in a trace: its id and the span we come from, in hexadecimal digits."""

    trace_id: str
    span_id: str
    """Empty when nothing was before us."""
    flags: int = _SAMPLED

    @property
    def sampled(self) -> bool:
        """Whether whoever began it keeps its spans."""
        return bool(self.flags & _SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse(text: str | None) -> Trace | None:
    """Read a ``traceparent`` by W3C's rules; what is none is ignored, as they ask."""
    found = _ANY_VERSION.fullmatch(text or "")
    if not found:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Trace(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


class Step:
    """What is done inside the block; this one is not part of any trace."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Nothing was begun."""

    def note(self, attributes: Attributes) -> None:
        """Add what is known by now."""

    def rename(self, name: str) -> None:
        """Call it what it turned out to be."""

    def end(self, error: BaseException | str | None = None) -> None:
        """It is over; with the error it ended in."""


NOTHING = Step()


class _Passing(Step):
    """A trace whose spans are not ours to make; it goes on to whoever we ask."""

    __slots__ = ("_token", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> Self:
        self._token = _here.set(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        _here.reset(self._token)


@dataclass(eq=False, slots=True)
class Span(Step):
    """One step of a sampled trace. As a context manager it is where all inside happens."""

    tracer: "Tracer"
    name: str
    kind: Kind
    before: Trace
    """Where it comes from."""
    attributes: dict[str, Value]
    trace: Trace = field(init=False)
    started_ns: int = field(init=False)
    """Since the epoch, as the end."""
    ended_ns: int = 0
    error: str | None = None
    """The code or the type of the error it ended in."""
    failed: bool = False
    """Whether that is a failure: that something is sold out is none."""
    _token: "Token[Span | Trace | None] | None" = None

    def __post_init__(self) -> None:
        span_id = f"{self.tracer.rng.getrandbits(64) or 1:016x}"
        self.trace = Trace(self.before.trace_id, span_id, self.before.flags)
        self.started_ns = self.tracer.now_ns()

    def child(self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes = NONE) -> "Span":
        """Begin a step of this one."""
        return Span(self.tracer, name, kind, self.trace, dict(attributes))

    def note(self, attributes: Attributes) -> None:
        """Add what is known by now."""
        self.attributes |= attributes

    def rename(self, name: str) -> None:
        """Call it what it turned out to be."""
        self.name = name

    def end(self, error: BaseException | str | None = None) -> None:
        """It is over; with the error it ended in."""
        if isinstance(error, BaseException):
            code, status = getattr(error, "code", None), getattr(error, "status", _FAILURE)
            self.error = code if isinstance(code, str) else type(error).__name__
            self.failed = not (isinstance(status, int) and status < _FAILURE)
        elif error:
            self.error, self.failed = error, True
        self.ended_ns = self.tracer.now_ns()
        self.tracer.keep(self)

    def __enter__(self) -> Self:
        self._token = _here.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._token:
            _here.reset(self._token)
        self.end(error)


_here: ContextVar[Span | Trace | None] = ContextVar("here", default=None)
_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))


def here() -> Trace | None:
    """The trace we are in, as the next one is to be told."""
    now = _here.get()
    return now.trace if isinstance(now, Span) else now


def traceparent() -> str | None:
    """The same, as it is written."""
    now = here()
    return str(now) if now else None


def current() -> Span | None:
    """The span we are in, if one is made."""
    now = _here.get()
    return now if isinstance(now, Span) else None


def span(name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes = NONE) -> Step:
    """Begin a step of the span we are in; without one there is nothing to begin."""
    now = _here.get()
    return now.child(name, kind, attributes) if isinstance(now, Span) else NOTHING


@contextlib.contextmanager
def within(step: Step) -> Iterator[None]:
    """Be in a span that is ended elsewhere."""
    token = _here.set(step if isinstance(step, Span) else None)
    try:
        yield
    finally:
        _here.reset(token)


@contextlib.contextmanager
def about(**ids: str) -> Iterator[None]:
    """Have the log lines of the block, and the spans that are entered there, carry these ids."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def learned(**ids: str) -> None:
    """Add ids that are known only now to those of the block, and of the span, we are in."""
    _ids.set({**_ids.get(), **ids})
    if now := current():
        now.note({f"holdfast.{word}": value for word, value in ids.items()})


def ids() -> Mapping[str, str]:
    """The ids known here: ``request``, ``session``, ``shop``, ``hold``, ``order``."""
    return _ids.get()


def _let_go(_: Span) -> None:
    pass


def _no_more() -> None:
    pass


@dataclass(slots=True)
class Tracer:
    """Begins and takes over traces at the doors of a process; one without ``keep`` makes no spans.

    ``keep`` takes an ended span and must not wait; ``close`` sends what it has kept.
    """

    keep: Callable[[Span], None] = _let_go
    close: Callable[[], None] = _no_more
    percent: int = 100
    """How many of the requests that bring no trace begin one."""
    rng: random.Random = field(default_factory=random.SystemRandom)
    now_ns: Callable[[], int] = time.time_ns
    on: bool = field(init=False)
    """Whether spans are made."""
    _second: int = 0
    _taken: int = 0

    def __post_init__(self) -> None:
        self.on = self.keep is not _let_go

    def fresh(self, seed: str) -> Trace | None:
        """Begin a trace, unless chance says no. The same seed is the same trace, on any gateway: a
        hold's id as the seed has its shopper's commands meet in one.
        """
        if not self.on:
            return None
        trace_id = hashlib.sha256(seed.encode()).hexdigest()[:32]
        drawn = int(trace_id[-_SAMPLED_BY // 4 :], 16) * 100 >> _SAMPLED_BY
        return Trace(trace_id, "") if drawn < self.percent else None

    def enter(
        self,
        trace: Trace | None,
        name: str,
        kind: Kind = Kind.SERVER,
        attributes: Attributes = NONE,
    ) -> Step:
        """Go on in a trace that came from elsewhere; ``None``: there is none."""
        if trace is None:
            return NOTHING
        if not (self.on and trace.sampled and self._may()):
            return _Passing(trace) if trace.span_id else NOTHING
        known = {f"holdfast.{word}": value for word, value in ids().items()}
        return Span(self, name, kind, trace, {**known, **attributes})

    def _may(self) -> bool:
        second = self.now_ns() // 1_000_000_000
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        return self._taken <= MOST_PER_S

    async def aclose(self) -> None:
        """Send what is kept, for as long as ``close`` takes at most."""
        await asyncio.to_thread(self.close)
