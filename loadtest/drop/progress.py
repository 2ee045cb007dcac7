"""What whoever watches is told: one line every other second, and whatever else there is to say."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.drop.collect import Whole, by_code
from loadtest.drop.scenarios import Stage

EVERY_S = 2.0

Say = Callable[[str], None]


def to_terminal(line: str) -> None:
    """Say something to whoever watches."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Progress:
    """Remembers what was shown last, so that rates can be told."""

    _at_s: float = 0.0
    _holds: int = 0
    _heads: bool = False

    def line(self, now_s: float, stage: Stage | None, whole: Whole) -> str:
        """How it stands, so many seconds after the run began."""
        reserved = by_code(whole.said, "reserve")
        holds = reserved.get("ok", 0)
        took_s = max(0.001, now_s - self._at_s)
        per_s = (holds - self._holds) / took_s
        self._at_s, self._holds = now_s, holds
        times = whole.steps.get("reserve")
        p99_ms = times.histogram.percentile(0.99) if times else 0.0
        paid = by_code(whole.said, "checkout").get("confirmed", 0)
        line = (
            f"{now_s:6.0f} s  {stage.name if stage else 'over':<16} {whole.shoppers:>6} "
            f"{holds:>7} {per_s:>8.1f} {reserved.get('sold_out', 0):>9} {paid:>7} "
            f"{whole.errors:>7} {p99_ms:>8.0f} ms"
        )
        if self._heads:
            return line
        self._heads = True
        return f"{_HEADS}\n{line}"


_HEADS = (
    f"{'':8}  {'stage':<16} {'here':>6} {'holds':>7} {'holds/s':>8} {'sold out':>9} {'paid':>7} "
    f"{'errors':>7} {'reserve p99':>11}"
)
