"""Whether a process can do its work, and if not, what is wrong and what to do, in words.

``look`` is what probes ask every few seconds, and costs a round trip to each server. ``findings``
is for people: one sentence for each thing that is wrong, whether it fails the process or not. The
sentences are fit for anybody; addresses and shops' names are kept apart, for a public door must not
tell them. ``answer`` is both as every process answers ``/readyz``.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Struct
from starlette.responses import Response

from gateway.clock import Clock
from gateway.durability import Durability, Finding, mode
from gateway.errors import Unavailable
from gateway.lane import Address, Lane, Reply
from gateway.problems import problem

if TYPE_CHECKING:  # A relay has neither, and is spared what they bring along.
    from gateway.checkout.provider import Provider
    from gateway.recovery.recovery import Recovery

PING_WITHIN_S = 1.0
"""Longer than one attempt of the lane, shorter than a probe's usual patience."""
_CLOCK_OFF_MS = 2_000
"""From here on it is worth telling; a countdown is shown in seconds."""
_LONG_QUEUE_S = 30
"""Somebody who waits longer for Stripe than this doubts that anything happens."""

_REDIS = (
    "No server with stock answers, so nothing can be sold. See that Redis runs and that this "
    "process reaches it: network policy, password, TLS."
)
_NEWS = (
    "No news of the stock arrives here, so that viewers of this process see old stock. It tries "
    "anew by itself; if this lasts, see that what Redis publishes reaches it, or restart it."
)
_DRAINING = (
    "This process was told to go away, and sends its viewers elsewhere; it ends when they are gone."
)
_FAILING = {"draining": _DRAINING, "redis": _REDIS, "news": _NEWS}
FAILINGS = tuple(_FAILING)
"""The words for what fails a process."""
_SILENT = (
    "Servers of the cluster that do not answer, or are not heard: {count}. Their shops sell "
    "nothing until a replica has taken over; if none does, start one."
)


class Hearing(Protocol):
    """What the viewers of a process are told what is new by."""

    @property
    def deaf(self) -> bool:
        """Whether they are told nothing."""

    @property
    def unheard(self) -> Sequence[Address]:
        """Servers of a cluster of whose shops they are told nothing."""


class State(Struct, frozen=True):
    """How a process is: a word for everything that fails it, and what does not."""

    failing: tuple[str, ...]
    silent: tuple[str, ...] = ()
    """Servers of a cluster that do not answer or are not heard, by address."""
    clocks_off_ms: tuple[int, ...] = ()
    """By how much each server that answers is ahead of this process."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Readiness:
    """What one process depends on. A part that it has not is ``None``."""

    lane: Lane
    durability: Durability
    clock: Clock
    provider: "Provider | None" = None
    recovery: "Recovery | None" = None
    hearing: Hearing | None = None
    draining: Callable[[], bool] = _never
    last: State | None = field(default=None, init=False)
    """How it was when it was looked at last, for metrics, which ask nobody; ``None`` before."""

    async def answer(self, *, verbose: bool, private: bool) -> Response:
        """What ``/readyz`` answers: 200, or 503 with a word for everything that fails.

        Args:
            verbose: say in words what is wrong and what to do, whether it fails the process or not,
                and which mode holds.
            private: whoever asks may know the addresses of servers.
        """
        state = await self.look()
        said: dict[str, object] = {}
        if state.silent:
            said["silent_servers"] = len(state.silent)
            if private:
                said["silent"] = state.silent
        if verbose:
            found = await self.findings(state)
            said["mode"] = mode(self.durability.settings)
            said["findings"] = found if private else [_told_to_anybody(one) for one in found]
        if not state.failing:
            body = msgspec.json.encode({"status": "ready", **said})
            return Response(body, media_type="application/json")
        detail = f"Not ready: {', '.join(state.failing)}."
        facts = {"failing": state.failing, **said}
        return problem(Unavailable.status, Unavailable.code, detail, facts)

    async def look(self) -> State:
        """Ask every server once.

        On a cluster a process is ready as long as one primary answers: whoever took it out of
        service for the sake of some shops would take it from all the others. The same goes for the
        news: it fails when that of no server with viewers here is heard.
        """
        asked = self.lane.ping()
        await asyncio.wait(asked.values(), timeout=PING_WITHIN_S)
        now_ms = self.clock.now_ms()
        silent = {at for at, time in asked.items() if not time.done() or time.exception()}
        failing = []
        if self.draining():
            failing.append("draining")
        if len(silent) == len(asked):
            failing.append("redis")
        if self.hearing and self.hearing.deaf:
            failing.append("news")
        unheard = self.hearing.unheard if self.hearing else ()
        named = {f"{host}:{port}" for host, port in (*filter(None, silent), *unheard)}
        off_ms = [_ms(time.result()) - now_ms for at, time in asked.items() if at not in silent]
        self.last = State(tuple(failing), tuple(sorted(named)), tuple(off_ms))
        return self.last

    async def findings(self, state: State) -> tuple[Finding, ...]:
        """Everything that is wrong or undermines a promise; what fails the process comes first."""
        report = await self.durability.report()
        return (*self._failing(state), *self._amiss(state), *report.findings)

    def _failing(self, state: State) -> Iterator[Finding]:
        for word in state.failing:
            yield Finding(word, _FAILING[word])
        if state.silent:
            yield Finding("servers", _SILENT.format(count=len(state.silent)), state.silent)

    def _amiss(self, state: State) -> Iterator[Finding]:
        off_ms = max(state.clocks_off_ms, key=abs, default=0)
        if abs(off_ms) >= _CLOCK_OFF_MS:
            yield _of_clock(off_ms, self.durability.settings.clock_tolerance_s)
        if self.provider:
            yield from _of_stripe(self.provider, self.durability.settings.stripe_rate_per_s)
        if self.recovery and (frozen := self.recovery.frozen):
            yield Finding(
                "frozen",
                f"Shops that sell nothing while they are rebuilt: {len(frozen)}. Their server may "
                "have lost writes. It takes seconds; if it lasts, see that Stripe answers and that "
                "a sweep runs.",
            )


def _told_to_anybody(finding: Finding) -> Finding:
    """A finding without the addresses of servers."""
    return Finding(finding.code, finding.message)


def _of_clock(off_ms: int, tolerance_s: int) -> Finding:
    direction = "ahead of" if off_ms > 0 else "behind"
    return Finding(
        "clock",
        f"A server's clock is {abs(off_ms) / 1000:.0f} s {direction} this process', so that "
        f"countdowns are wrong by as much; from {tolerance_s} s on no hold lapses. Have both "
        "machines follow the same time (NTP).",
    )


def _of_stripe(provider: "Provider", rate_per_s: int) -> Iterator[Finding]:
    if provider.down:
        yield Finding(
            "stripe_down",
            f"Stripe has left the last {provider.silences} requests without an answer. Payments "
            "wait, and none is lost; see Stripe's status page, and that this process reaches it.",
        )
    if (wait_s := provider.waiting // rate_per_s) >= _LONG_QUEUE_S:
        yield Finding(
            "stripe_queue",
            f"Requests that wait here for their turn to ask Stripe: {provider.waiting}, at least "
            f"{wait_s} s of them. Their holds wait as well; ask Stripe for a higher limit, and "
            "then raise HOLDFAST_STRIPE_RATE_PER_S.",
        )


def _ms(time: Reply) -> int:
    seconds, micros = time
    return int(seconds) * 1000 + int(micros) // 1000
