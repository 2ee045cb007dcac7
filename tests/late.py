"""How late a test's own process is: nobody whom it watches can be expected to be sooner."""

import asyncio
import time

LATE_S = 0.1
"""How late one may be on a busy machine, besides what the process is seen to be late itself."""
_BEAT_S = 0.005


class Late:
    """Watches how late this process is with what is due."""

    worst_s = 0.0

    async def watch(self) -> None:
        while True:
            due_s = time.monotonic() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            self.worst_s = max(self.worst_s, time.monotonic() - due_s)

    @property
    def most_s(self) -> float:
        """How late somebody may have been."""
        return LATE_S + self.worst_s
