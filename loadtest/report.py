"""What a run says while it goes, what it ran on, and where its figures are put."""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
FSYNCS = 50
PAGE = 8_192
STEAL = 7
"""Of the first line of ``/proc/stat``, the time a hypervisor gave to others."""

Facts = dict[str, str | int | float]


def say(line: str) -> None:
    """Tell whoever watches."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Machine:
    """What a run has, and how much of it others had meanwhile."""

    def __init__(self) -> None:
        self._started, self._before = time.monotonic(), _ticks()

    def facts(self) -> Facts:
        """From the making of this object until now."""
        spent = [now - then for now, then in zip(_ticks(), self._before, strict=True)]
        return {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count() or 0,
            "python": platform.python_version(),
            "fsync": f"{_fsync_ms():.2f} ms",
            "taken by other machines": f"{spent[STEAL] / sum(spent):.0%}"
            if sum(spent)
            else "unknown",
            "day": time.strftime("%Y-%m-%d", time.gmtime()),
            "minutes": round((time.monotonic() - self._started) / 60, 1),
        }


def _ticks() -> list[int]:
    """What the cores have done so far, as Linux counts it."""
    try:
        return [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        return [0] * (STEAL + 1)


def _fsync_ms() -> float:
    """How long the disk takes for one page, the median; a row lock is held for as long."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(FSYNCS):
            file.write(b"x" * PAGE)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def line(facts: Facts) -> str:
    """Facts of a machine in one line of Markdown."""
    return ", ".join(f"{name} {value}" for name, value in facts.items()) + ".\n"


def publish(tables: Mapping[str, str], charts: Mapping[str, str]) -> None:
    """Put tables between their marks in the README, and charts beside it."""
    page = HERE / "README.md"
    text = page.read_text()
    for name, table in tables.items():
        mark, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, after = text.partition(mark)
        if found:
            text = before + mark + table + end + after.partition(end)[2]
    page.write_text(text)
    (HERE / "figures").mkdir(exist_ok=True)
    for file, drawing in charts.items():
        (HERE / "figures" / file).write_text(drawing)
