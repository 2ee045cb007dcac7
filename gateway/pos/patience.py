"""How often and how long we try, with time and chance handed in."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.clock import Clock
from gateway.errors import Overloaded, Unavailable
from gateway.orders.stream import Sleep
from gateway.pos.backoff import delay_s

AWAY_MAX_S = 5.0
"""Longest pause between two tries to reach Redis."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Pauses, of growing length; ``clock``, ``sleep`` and ``rng`` are the world's."""

    clock: Clock
    sleep: Sleep
    rng: random.Random

    async def pause(self, failures: int, cap_s: float, at_least_s: float | None = None) -> None:
        """Sleep after so many failures in a row; never longer than ``cap_s`` seconds."""
        chosen = delay_s(failures, cap_s, self.rng)
        await self.sleep(min(cap_s, max(chosen, at_least_s or 0.0)))

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis until it answers."""
        failures = 0
        while True:
            try:
                return await ask()
            except (Unavailable, Overloaded):
                failures += 1
                await self.pause(failures, AWAY_MAX_S)
