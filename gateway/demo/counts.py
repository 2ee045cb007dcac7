"""What the crowd did: one JSON line, several times a second, from the crowd to the supervisor."""

from msgspec import Struct, field


class Counts(Struct):
    """Counted since the crowd began, but for ``here``: the shoppers connected just now."""

    shoppers: int = 0
    here: int = 0
    held: int = 0
    """Holds won."""
    beaten: int = 0
    """Reservations answered with ``sold_out``: somebody was faster."""
    bought: int = 0
    declined: int = 0
    second_steps: int = 0
    given_up: int = 0
    """Holds given back or left behind."""
    lapsed: int = 0
    """Holds that ended before they were paid for."""
    retries: int = 0
    """Requests sent again with the same key."""
    reconnects: int = 0
    unexpected: dict[str, int] = field(default_factory=dict)
    """Answers no shopper should get, and how often."""

    @property
    def errors(self) -> int:
        """How many answers were unexpected."""
        return sum(self.unexpected.values())

    def blame(self, what: str) -> None:
        """Count an unexpected answer."""
        self.unexpected[what] = self.unexpected.get(what, 0) + 1
