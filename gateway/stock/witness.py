"""Whether a server's clock goes as time does.

Deadlines are decided by the server's clock. Should it jump, an hour of holds would lapse at once,
or none for an hour; the server itself cannot know. Whoever sweeps has a clock of its own that does
not jump: the time of day when it began, and what its monotonic clock has run since.
"""

from dataclasses import dataclass, field

from gateway.clock import Clock


@dataclass(slots=True)
class Witness:
    """Times said by servers, against one's own."""

    clock: Clock
    tolerance_ms: int
    _began_ms: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_ms = self.clock.now_ms() - self.clock.monotonic_s() * 1000

    def drift_ms(self, said_ms: int) -> int:
        """How far ahead of time a server is; negative when it is behind."""
        return round(said_ms - self._began_ms - self.clock.monotonic_s() * 1000)

    def agrees(self, said_ms: int) -> bool:
        """Whether the two are as near as clocks of two machines may be."""
        return abs(self.drift_ms(said_ms)) <= self.tolerance_ms
