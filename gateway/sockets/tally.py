"""What has happened on the sockets of this process, counted."""

from collections import Counter
from dataclasses import dataclass, field

from gateway.errors import CloseCode


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by words of ours, never by what a client sent, so that they stay few."""

    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the command's type, and ``ok`` or the error's code."""
    closed: Counter[CloseCode] = field(default_factory=Counter)
    """Sockets we closed, by the close code."""
