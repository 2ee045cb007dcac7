"""Whether a server's clock goes as time does.

Deadlines are decided by the server's clock. Should it jump, an hour of holds would lapse at once,
or none for an hour; the server itself cannot know. Whoever sweeps has a clock of its own that does
not jump: the time of day when it began, and what its monotonic clock has run since.

A server that goes on by a new time is believed in the end, once every hold of the old time is over:
the time of day may have been wrong here when the process began, or this machine may have stood
still, and holds that never lapse would keep their units for ever.
"""

import logging
from dataclasses import dataclass, field

from gateway.clock import Clock

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Witness:
    """Times said by the servers of shops, against one's own.

    Args:
        tolerance_ms: how far apart the clocks of two machines may be.
        patience_s: how long a server must go by a new time before it is believed; no hold is
            longer.
    """

    clock: Clock
    tolerance_ms: int
    patience_s: int
    _began_ms: float = field(init=False)
    _believed_ms: dict[str, int] = field(default_factory=dict)
    """By shop: how far ahead its server may be by now."""
    _doubted: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By shop: how far ahead its server is, and since when it is so far."""

    def __post_init__(self) -> None:
        self._began_ms = self.clock.now_ms() - self.clock.monotonic_s() * 1000

    def drift_ms(self, shop: str, said_ms: int) -> int:
        """How far ahead of time a shop's server is; negative when it is behind."""
        own_ms = self._began_ms + self.clock.monotonic_s() * 1000
        return round(said_ms - own_ms) - self._believed_ms.get(shop, 0)

    def agrees(self, shop: str, said_ms: int) -> bool:
        """Whether the two are as near as clocks of two machines may be, or have been as far apart
        for so long that the server is right.
        """
        drift_ms, now_s = self.drift_ms(shop, said_ms), self.clock.monotonic_s()
        if abs(drift_ms) <= self.tolerance_ms:
            self._doubted.pop(shop, None)
            return True
        first_ms, since_s = self._doubted.setdefault(shop, (drift_ms, now_s))
        if abs(drift_ms - first_ms) > self.tolerance_ms:
            self._doubted[shop] = (drift_ms, now_s)
            return False
        if now_s - since_s < self.patience_s:
            return False
        log.warning(
            "sweep: shop %s: its clock has been %+.0f s off for so long that it is believed",
            *(shop, drift_ms / 1000),
        )
        del self._doubted[shop]
        self._believed_ms[shop] = self._believed_ms.get(shop, 0) + drift_ms
        return True
