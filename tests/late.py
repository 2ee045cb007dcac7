"""How late a busy machine makes a process: nobody can be expected to be sooner."""

import asyncio
import time
from collections.abc import Callable, Collection
from pathlib import Path

LATE_S = 0.1
"""How late one may be on a busy machine, besides what the process is seen to be late itself."""
_BEAT_S = 0.005
_LOOK_S = 0.01
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


def ends_after_s(pids: Collection[int], has_ended: Callable[[], bool]) -> float:
    """Wait until processes have ended that end together; the seconds, save those in which one of
    them, whichever had to wait the longest, was not let run.

    Raises:
        TimeoutError: they live on.
    """
    began = time.monotonic()
    first = {pid: _kept_waiting_s(pid) for pid in pids}
    most_s = 0.0
    while not has_ended():
        if time.monotonic() - began > _PATIENCE_S:
            raise TimeoutError
        most_s = max(most_s, *(_kept_waiting_s(pid) - first[pid] for pid in pids))
        time.sleep(_LOOK_S)
    return time.monotonic() - began - most_s


def _kept_waiting_s(pid: int) -> float:
    """For how long a process could have run, and was not let, so far; 0 where no system tells."""
    try:
        _, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return int(waited_ns) / 1e9
