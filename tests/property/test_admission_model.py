"""Hypothesis plays shoppers before a full show on a real Valkey, and on a short model of the line.

Every answer must be the model's, and so must the line after every step. Times are far enough apart
that the few moments which really pass in a game decide nothing.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.lane import served
from gateway.tickets import TicketExpired
from tests.depth import deep
from tests.entrance import Entrance
from tests.stall import settings_for

pytestmark = deep

T = TypeVar("T")

PLACES = 3
INVITATION_S, SILENCE_S, SESSION_S, AGAIN_S, STEP_S = 25, 35, 125, 120, 10
shoppers = st.sampled_from(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"])


@dataclass
class Model:
    """The line as it is meant. Times are seconds since the game began."""

    now: float = 0
    counted: int = 0
    line: list[str] = field(default_factory=list)
    heard: dict[str, float] = field(default_factory=dict)
    invited: dict[str, float] = field(default_factory=dict)
    inside: dict[str, float] = field(default_factory=dict)
    patient_until: float = 0

    def is_known(self, shopper: str) -> bool:
        return any(kept.get(shopper, 0) > self.now for kept in (self.invited, self.inside))

    def asks(self, shopper: str) -> int:
        """The place in the line; 0 for who is let in."""
        if self.is_known(shopper):
            return 0
        if self.heard and max(self.heard.values()) < self.now - SILENCE_S / 2:
            self.patient_until = self.now + SILENCE_S
        if self.patient_until <= self.now:
            self.heard = {who: at for who, at in self.heard.items() if self.now - at < SILENCE_S}
            self.line = [who for who in self.line if who in self.heard]
        if shopper not in self.line:
            self.line.append(shopper)
        self.heard[shopper] = self.now
        ahead = self.line.index(shopper)
        if ahead >= PLACES - self.taken:
            return ahead + 1
        self.line.remove(shopper)
        del self.heard[shopper]
        self.invited[shopper] = self.now + INVITATION_S
        return 0

    @property
    def taken(self) -> int:
        return self.counted + sum(until > self.now for until in self.invited.values())

    def comes(self, shopper: str) -> bool:
        if not self.is_known(shopper):
            return False
        self.invited[shopper] = self.now + STEP_S / 2  # any moment before the next step
        self.inside[shopper] = self.now + SESSION_S + AGAIN_S
        return True


class AdmissionMachine(RuleBasedStateMachine):
    """One show of its own, played step by step."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        settings = settings_for(
            self.url,
            f"shop_{uuid.uuid4().hex}",
            show_viewers=PLACES,
            invitation_s=INVITATION_S,
            queue_silence_s=SILENCE_S,
            session_ttl_s=SESSION_S,
            redis_timeout_ms=5_000,
        )
        self.stack = contextlib.AsyncExitStack()
        lane = self.run(self.stack.enter_async_context(served(settings)))
        self.entrance = Entrance(lane, settings)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        with self.runner:
            self.run(self.stack.aclose())

    @rule(shopper=shoppers)
    def asks(self, shopper: str) -> None:
        self.keeps_counting()
        assert self.run(self.entrance.asks(shopper)) == self.model.asks(shopper)

    @rule(shopper=shoppers)
    def comes(self, shopper: str) -> None:
        async def comes() -> bool:
            try:
                await self.entrance.comes(shopper)
            except TicketExpired:
                return False
            return True

        assert self.run(comes()) == self.model.comes(shopper)

    @rule(viewers=st.integers(0, PLACES))
    def counts(self, viewers: int) -> None:
        self.model.counted = viewers

    @precondition(lambda self: self.model.line or self.model.invited)
    @rule(steps=st.sampled_from([1, 1, 1, 2, 5, 13]))
    def time_passes(self, steps: int) -> None:
        self.model.now += steps * STEP_S
        self.run(self.entrance.later(steps * STEP_S))

    def keeps_counting(self) -> None:
        self.run(self.entrance.counted(self.model.counted))

    @invariant()
    def the_line_is_the_models(self) -> None:
        assert self.run(self.entrance.in_line()) == self.model.line


def test_the_line_is_as_the_model_says(redis_url: str) -> None:
    class Machine(AdmissionMachine):
        url = redis_url

    run_state_machine_as_test(Machine)
