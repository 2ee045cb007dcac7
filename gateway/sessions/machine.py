"""A shopper's session as a machine: what comes in, what is to be done. Pure: no I/O, no clock.

    fresh ── connect ──► joining ── joined ──► live ──► closed

Whoever runs it calls a method for each thing that happens and performs the effects it returns. It
decides what a client may do when, how often, and which close code ends the session.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

from msgspec import Struct

from gateway.errors import (
    BadFrame,
    CloseCode,
    Forbidden,
    HoldfastError,
    Invalid,
    LimitExceeded,
    RateLimited,
    ShowNotLive,
    Unauthenticated,
)
from gateway.messages import AnyCommand, Checkout, Connect
from gateway.model import Hold, ShowState
from gateway.sessions.limits import Bucket
from gateway.tickets import Ticket, TicketExpired

_BYTES_PER_TOKEN = 4_096
"""A large frame costs more than a small one."""
_MOST_BAD_FRAMES = 10
_MOST_REFUSALS = 100
"""Commands refused for their rate, the socket's or the shopper's, before the socket is closed."""
_FAREWELL_S = 30.0
"""How long a buyer stays when the show is over: the units are sold, the confirmation is to come."""


class Perform(Struct, frozen=True):
    """Do what a command asks for, then tell ``answered``."""

    command: AnyCommand


class Refuse(Struct, frozen=True):
    """Answer with an error; ``command`` is the id it replies to, if known."""

    error: HoldfastError
    command: int | None


class Close(Struct, frozen=True):
    """Close the socket."""

    code: CloseCode


Effect = Perform | Refuse | Close


class Busy(IntEnum):
    """What a shopper would be disturbed in, if the socket closed now."""

    IDLE = 0
    HOLDING = 1
    """There is an active hold, or an answer to come."""
    PAYING = 2
    """A payment is under way, or its answer is to come."""


class _State(Enum):
    FRESH = auto()
    JOINING = auto()
    LIVE = auto()
    CLOSED = auto()


@dataclass(slots=True)
class Machine:
    """One session. Times are seconds on the caller's monotonic clock, or ms since the epoch."""

    bucket: Bucket
    connect_by_s: float
    most_in_flight: int
    shared: Bucket | None = None
    """What this shopper's sockets may send together, from the moment it is known who it is."""
    refreshes: Bucket | None = None
    """How often it may use up another ticket: each is remembered for as long as it is good."""
    ticket: Ticket | None = None
    _state: _State = _State.FRESH
    _in_flight: int = 0
    _bad_frames: int = 0
    _refusals: int = 0
    _active: dict[str, Hold] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    """Holds that ended while the client was let in: what was read of them may be older."""
    _checked_out: str | None = None
    """The hold that was to be paid for last."""
    _bought: bool = False
    _stays_until_s: float = 0.0
    _show: ShowState = "live"

    @property
    def active(self) -> tuple[Hold, ...]:
        """The holds this shopper is known to have."""
        return tuple(self._active.values())

    @property
    def busy(self) -> Busy:
        """What the shopper would be disturbed in."""
        if self._checked_out and (self._in_flight or self._checked_out in self._active):
            return Busy.PAYING
        if self._in_flight or self._active or self._state is _State.JOINING:
            return Busy.HOLDING
        return Busy.IDLE

    def arrived(self, size: int, now_s: float) -> list[Effect]:
        """A frame has come in, not read yet; an effect means that it is not to be read."""
        if self._state is _State.CLOSED:
            return [Close(CloseCode.NORMAL)]
        cost = 1 + size / _BYTES_PER_TOKEN
        wait_ms = self.bucket.take(cost, now_s)
        if not wait_ms and self.shared:
            wait_ms = self.shared.take(cost, now_s)
        if not wait_ms:
            return []
        self._refusals += 1
        if self._refusals > _MOST_REFUSALS:
            return self._close(CloseCode.COMMAND_RATE)
        error = RateLimited("Too many messages; slow down.", retry_after_ms=wait_ms)
        return [Refuse(error, None)]

    def garbled(self, error: HoldfastError, command: int | None) -> list[Effect]:
        """A frame could not be read. A few are forgiven."""
        if self._state is _State.FRESH:
            return [Refuse(error, command), *self._close(CloseCode.BAD_FRAME)]
        if isinstance(error, BadFrame):
            self._bad_frames += 1
            if self._bad_frames > _MOST_BAD_FRAMES:
                return [Refuse(error, command), *self._close(CloseCode.BAD_FRAME)]
        return [Refuse(error, command)]

    def binary(self) -> list[Effect]:
        """A binary frame: this client speaks another protocol."""
        return [
            Refuse(BadFrame("Frames are JSON text."), None),
            *self._close(CloseCode.BAD_FRAME),
        ]

    def commanded(self, command: AnyCommand) -> list[Effect]:
        """A good command has come in."""
        if self._state is _State.LIVE:
            return self._commanded_live(command)
        match self._state, command:
            case _State.FRESH, Connect():
                self._state = _State.JOINING
                return [Perform(command)]
            case _State.FRESH, _:
                error: HoldfastError = Unauthenticated("The first frame is connect.")
                return [Refuse(error, command.id), *self._close(CloseCode.NEVER_CONNECTED)]
            case _State.JOINING, Connect():
                return [_connected_already(command)]
            case _State.JOINING, _:
                return [Refuse(Unauthenticated("Wait for the welcome."), command.id)]
            case _:
                return []

    def _commanded_live(self, command: AnyCommand) -> list[Effect]:
        if isinstance(command, Connect):
            return [_connected_already(command)]
        if self._in_flight >= self.most_in_flight:
            error = RateLimited("Too many commands await an answer.", retry_after_ms=100)
            return [Refuse(error, command.id)]
        self._in_flight += 1
        if isinstance(command, Checkout):
            self._checked_out = command.hold
        return [Perform(command)]

    def answered(self) -> None:
        """A performed command, other than ``connect``, has its answer."""
        self._in_flight -= 1
        if not self._in_flight and self._checked_out not in self._active:
            self._checked_out = None

    def joined(self, ticket: Ticket, show: ShowState, holds: tuple[Hold, ...]) -> None:
        """The ticket is good and the client is welcomed; ``show`` and ``holds`` were read.

        What the news has said meanwhile counts for more: nothing that ended begins again.
        """
        if self._state is not _State.JOINING:
            return
        self._state = _State.LIVE
        self.ticket = ticket
        self._active |= {hold.id: hold for hold in holds if hold.id not in self._over}
        self._over.clear()
        if show == "ended":
            self._show = show

    def refused(self, error: HoldfastError, command: int) -> list[Effect]:
        """The client cannot come in."""
        match error:
            case TicketExpired():
                code = CloseCode.TOKEN_EXPIRED
            case ShowNotLive():
                code = CloseCode.SHOW_ENDED
            case HoldfastError() if error.status >= 500:
                code = CloseCode.OVERLOADED
            case LimitExceeded():
                code = CloseCode.TOO_MANY_CONNECTIONS
            case _:
                code = CloseCode.BAD_TOKEN
        return [Refuse(error, command), *self._close(code)]

    def may_refresh(self, ticket: Ticket, now_s: float) -> None:
        """Look at a ticket that is to prolong the session.

        Raises:
            Forbidden: it is for somebody or something else.
            RateLimited: that was done just now, again and again.
        """
        old = self.ticket
        if not old or (old.sub, old.shop, old.show) != (ticket.sub, ticket.shop, ticket.show):
            raise Forbidden("This ticket is for another shopper or show.")
        if self.refreshes and (wait_ms := self.refreshes.take(1, now_s)):
            raise RateLimited("This session was prolonged just now.", retry_after_ms=wait_ms)

    def refreshed(self, ticket: Ticket) -> None:
        """The session lasts until this ticket ends, and no longer until the old one does."""
        self.ticket = ticket

    def hold_changed(self, hold: Hold) -> None:
        """A hold of this shopper changed, here or on another device."""
        if hold.state == "active":
            self._active[hold.id] = hold
            return
        self._active.pop(hold.id, None)
        self._bought |= hold.state == "committed"
        if self._state is _State.JOINING:
            self._over.add(hold.id)

    def show_changed(self, state: ShowState) -> None:
        """The show started or ended. Whoever still holds something may finish paying."""
        self._show = state

    def ticked(self, now_s: float, now_ms: int) -> list[Effect]:
        """Time has passed."""
        if self._bought:
            self._bought, self._stays_until_s = False, now_s + _FAREWELL_S
        match self._state:
            case _State.FRESH if now_s >= self.connect_by_s:
                return self._close(CloseCode.NEVER_CONNECTED)
            case _State.JOINING if now_s >= self.connect_by_s:
                return self._close(CloseCode.OVERLOADED)  # It is we who are late.
            case _State.LIVE if self.ticket and now_ms >= self.ticket.exp * 1000:
                return self._close(CloseCode.TOKEN_EXPIRED)
            case _State.LIVE if self._is_over(now_s):
                return self._close(CloseCode.SHOW_ENDED)
        return []

    def epoch_changed(self) -> list[Effect]:
        """What this client knows of the stock is void: it must come back for a snapshot."""
        return self._close(CloseCode.EPOCH_CHANGED)

    def overflowed(self) -> list[Effect]:
        """The client does not read what it is sent."""
        return self._close(CloseCode.SLOW_CONSUMER)

    def drained(self) -> list[Effect]:
        """The process goes away."""
        return self._close(CloseCode.DRAIN)

    def _is_over(self, now_s: float) -> bool:
        busy = self._active or self._in_flight or now_s < self._stays_until_s
        return self._show == "ended" and not busy

    def _close(self, code: CloseCode) -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        self._state = _State.CLOSED
        return [Close(code)]


def _connected_already(command: Connect) -> Refuse:
    return Refuse(Invalid("This socket is connected already."), command.id)
