"""Who took the cores of this machine during a test: each of our processes, and everybody else."""

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_IDLE = slice(3, 5)
"""Of the first line of ``/proc/stat``: idle, and waiting for a disk."""


def loaded_s() -> float:
    """CPU seconds of the children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_s() -> float:
    """CPU seconds all cores have spent since the machine started; 0 where nobody says."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        return 0.0
    return (sum(ticks) - sum(ticks[_IDLE])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores, from the making of this object on."""

    began_s: float = field(default_factory=time.monotonic)
    busy_s: float = field(default_factory=_busy_s)

    def told(self, ours: Mapping[str, float]) -> str:
        """A line on who took how much, in CPU seconds; what is not ours is others'."""
        took_s = time.monotonic() - self.began_s
        others_s = max(0.0, _busy_s() - self.busy_s - sum(ours.values()))
        most = sorted(ours.items(), key=lambda one: -one[1])
        each = ", ".join(f"{name} {seconds:.0f}" for name, seconds in most)
        return (
            f"CPU seconds in {took_s:.0f} s of {os.cpu_count()} cores: {each}; "
            f"others on this machine {others_s:.0f}"
        )
