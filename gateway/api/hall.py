"""The connections of one listener that are no sockets: how many there may be, and who must go.

Everybody begins here, also who wants a socket and leaves with the upgrade. A connection that does
not get on costs little, but thousands of them would leave no room for a shopper. One timer looks
after them all.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

LOOKS_EVERY_S = 1.0
_LEAST_S = 1.0
"""For so long nobody is sent away for another: an honest client has asked by then."""
_MOST_TURNED_AWAY = 256
"""Who is being told that there is no room, and hears it; any more are cut at once."""


class Caller(Protocol):
    """A connection, as the hall sees it."""

    def looked_at(self, now_s: float) -> None:
        """Time has passed."""

    def cut(self) -> None:
        """The connection ends now."""

    def give_way(self) -> None:
        """It ends for a newcomer."""


@dataclass(slots=True)
class Hall:
    """Who is connected. Times are seconds of the event loop's clock."""

    most: int
    """Connections there may be."""
    head_s: float
    """How long one may take to send the whole head of a request, from the connection on."""
    body_s: float
    """And then its body."""
    slow_s: float
    """How long an answer may wait without any of it being read."""
    turned_away: int = 0
    """Those who are being told that there is no room."""
    refused: int = 0
    """Connections that found no room."""
    cut: int = 0
    """Connections that we ended: for a newcomer, or for what they did or did not do."""
    _inside: dict[Caller, None] = field(default_factory=dict)
    _silent: dict[Caller, float] = field(default_factory=dict)
    """Those whose request, or its body, we wait for, and since when; the longest first."""
    _timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._inside)

    def has_room(self, now_s: float) -> bool:
        """Whether a newcomer can come in; whoever has been silent the longest goes for it."""
        if len(self._inside) < self.most:
            return True
        longest = next(iter(self._silent), None)
        if longest is None or now_s - self._silent[longest] < _LEAST_S:
            self.refused += 1
            return False
        self.cut += 1
        self.leave(longest)
        longest.give_way()
        return True

    def may_tell(self) -> bool:
        """Whether one who finds no room can be told so in peace."""
        return self.turned_away < _MOST_TURNED_AWAY

    def enter(self, caller: Caller) -> None:
        """A connection is made."""
        self._inside[caller] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LOOKS_EVERY_S, self._look)

    def leave(self, caller: Caller) -> None:
        """It is lost, or is a socket now; again is fine."""
        self._inside.pop(caller, None)
        self._silent.pop(caller, None)

    def ends(self, caller: Caller) -> None:
        """End a connection."""
        self.cut += 1
        self.leave(caller)
        caller.cut()

    def awaits(self, caller: Caller, now_s: float) -> None:
        """From now on its next request is waited for, or a body; of who has left, nothing is."""
        self._silent.pop(caller, None)
        if caller in self._inside:
            self._silent[caller] = now_s

    def serves(self, caller: Caller) -> None:
        """It has asked for something, and said all that belongs to it."""
        self._silent.pop(caller, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for caller in tuple(self._inside):
            caller.looked_at(now_s)
        again = bool(self._inside)
        self._timer = loop.call_later(LOOKS_EVERY_S, self._look) if again else None
