"""Tells the sockets of a process the time, once a second.

One timer serves them all: a timer for each would cost more than all that idle viewers cost besides.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)

EVERY_S = 1.0
_SLICE = 256
"""Sockets that are told before others get a turn on the loop."""


class Watched(Protocol):
    """Something that wants to know the time."""

    def ticked(self) -> None:
        """Time has passed."""


@dataclass(slots=True)
class Watch:
    """The sockets that are open; its timer runs only while there are any."""

    _watched: set[Watched] = field(default_factory=set)
    _timer: asyncio.Handle | None = None

    def add(self, one: Watched) -> None:
        """Tell it the time from now on."""
        self._watched.add(one)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._begin)

    def remove(self, one: Watched) -> None:
        """Tell it no more; again is fine."""
        self._watched.discard(one)

    def _begin(self) -> None:
        self._go_on(list(self._watched))

    def _go_on(self, rest: list[Watched]) -> None:
        """Tell a slice of those who were there when the round began."""
        loop = asyncio.get_running_loop()
        for one in rest[-_SLICE:]:
            if one in self._watched:
                try:
                    one.ticked()
                except Exception:
                    log.exception("sockets: one could not be told the time")
        del rest[-_SLICE:]
        if rest:
            self._timer = loop.call_soon(self._go_on, rest)
        elif self._watched:
            self._timer = loop.call_later(EVERY_S, self._begin)
        else:
            self._timer = None
