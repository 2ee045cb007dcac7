"""Whether something still moves: it beats, and whoever wants to know asks how long ago that was."""

import asyncio
from dataclasses import dataclass, field

from gateway.clock import Clock, SystemClock


@dataclass(slots=True)
class Pulse:
    """Beats when made, and whenever it is told to; any thread may ask for its age."""

    clock: Clock = field(default_factory=SystemClock)
    _beat_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.beat()

    def beat(self) -> None:
        """It moves."""
        self._beat_s = self.clock.monotonic_s()

    @property
    def age_s(self) -> float:
        """Seconds since the last beat."""
        return self.clock.monotonic_s() - self._beat_s

    async def of_loop(self, every_s: float) -> None:
        """Beat as long as the event loop moves, until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(every_s)
