"""Cyclic garbage is looked for while nobody waits for an answer.

By itself the interpreter looks through everything it holds when much has come to be at once: that
is when thousands press *Buy*, and for a third of a second nobody is answered. Young objects are
looked through as ever, which takes a millisecond; the long look is put off until it is calm, within
a bound, and spares what was there before anybody came: modules and classes, which stay, and take
sixty milliseconds to look through.
"""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LOOKS_EVERY_S = 1.0
_CALM = 5
"""Commands within that time among which a long look disturbs few."""
_OWED = 10
"""Short looks (of 7,000 more objects each) after which a long one is due, as by default."""
_OVERDUE = 50
"""Short looks after which it is taken in any case: some thirty MiB may wait for it."""
_NEVER = 1_000_000


@dataclass(slots=True)
class Garbage:
    """Says when to take the long look."""

    answered: Callable[[], int]
    """Commands answered so far."""
    _before: int = 0

    def is_due(self, short_looks: int) -> bool:
        """Whether to look now, so many short looks after the last long one; ask once in a while."""
        now = self.answered()
        calm, self._before = now - self._before <= _CALM, now
        return short_looks >= (_OWED if calm else _OVERDUE)

    async def run(self) -> None:
        """Look when it is due, until cancelled."""
        with _left_to_us():
            while True:
                await asyncio.sleep(LOOKS_EVERY_S)
                if self.is_due(gc.get_count()[2]):
                    gc.collect()


@contextlib.contextmanager
def _left_to_us() -> Iterator[None]:
    """Meanwhile the interpreter takes no long look by itself, and none at what is there now."""
    young, middle, old = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
        gc.unfreeze()
