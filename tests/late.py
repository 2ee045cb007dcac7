"""How late a busy machine makes a process: nobody can be expected to be sooner."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

LATE_S = 0.1
"""How late one may be on a busy machine, besides what the process is seen to be late itself."""
_BEAT_S = 0.005
_PATIENCE_S = 30


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


def ends_after_s(pid: int, has_ended: Callable[[], bool]) -> float:
    """Wait until a process has ended; the seconds, save those in which it was not let run.

    Raises:
        TimeoutError: it lives on.
    """
    began, kept = time.monotonic(), [_kept_waiting_s(pid)]
    while not has_ended():
        if time.monotonic() - began > _PATIENCE_S:
            raise TimeoutError
        kept.append(_kept_waiting_s(pid))
        time.sleep(_BEAT_S)
    return time.monotonic() - began - (max(kept) - kept[0])


def _kept_waiting_s(pid: int) -> float:
    """For how long a process could have run, and was not let, so far; 0 where no system tells."""
    try:
        _, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return int(waited_ns) / 1e9
