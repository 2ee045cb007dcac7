"""Who may come in: how many sockets this process serves, and whether it still takes any.

The protocol class asks before an upgrade costs anything, and the drain closes the door. Pure.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.errors import Overloaded
from gateway.problems import as_bytes
from gateway.sessions.machine import Busy
from gateway.sockets.direct import Encoded

Reason = Literal["full", "draining"]

_SENTENCES: dict[Reason, str] = {
    "full": "Too many are connected here; try again.",
    "draining": "This process is going away; connect again.",
}
MOST_UNFINISHED = 2_097_152
"""Bytes of messages that have not come whole, of all sockets together. Nobody means to send a large
one slowly; whoever would make them more is closed."""
_COME_BACK_S = range(1, 6)
"""Whoever was refused is told one of these, so that not all come back in the same second."""


class Guest(Protocol):
    """A socket that was let in, as whoever empties the house sees it."""

    @property
    def busy(self) -> Busy:
        """What its shopper would be disturbed in."""

    def warn(self, frame: Encoded) -> None:
        """Tell it that it will be closed."""

    def leave(self) -> None:
        """Say what waits to be said, then close it for the drain; again is fine."""


@dataclass(slots=True)
class Door:
    """Counts the sockets of one process."""

    most: int
    """Sockets that may be open at once."""
    open: int = 0
    """Those that are, from the request for an upgrade until the connection is lost."""
    accepted: int = 0
    """Upgrades that were made."""
    refused: Counter[str] = field(default_factory=Counter)
    """Upgrades that were not, by ``full``, ``draining``, or the code of the endpoint's error."""
    unfinished: int = 0
    """Bytes of messages that have not come whole."""
    draining: bool = False
    """The process goes away; nobody comes in any more."""
    guests: set[Guest] = field(default_factory=set)
    """Who is inside."""

    def refuses(self) -> Reason | None:
        """Why nobody can be let in now, which is counted; ``None`` if somebody can."""
        reason: Reason | None = None
        if self.draining:
            reason = "draining"
        elif self.open >= self.most:
            reason = "full"
        if reason:
            self.refused[reason] += 1
        return reason

    def enter(self) -> None:
        """A connection asks for an upgrade, and was not refused; it must ``exit`` once."""
        self.open += 1

    def exit(self) -> None:
        """A connection that had entered is lost."""
        self.open -= 1

    @contextlib.contextmanager
    def inside(self, guest: Guest) -> Iterator[None]:
        """Meanwhile this guest is served."""
        self.guests.add(guest)
        try:
            yield
        finally:
            self.guests.discard(guest)


def refusals(reason: Reason) -> tuple[bytes, ...]:
    """The whole HTTP answers to an upgrade that is refused, each with another ``Retry-After``."""
    sentence = _SENTENCES[reason]
    return tuple(as_bytes(Overloaded(sentence, retry_after_ms=s * 1000)) for s in _COME_BACK_S)
