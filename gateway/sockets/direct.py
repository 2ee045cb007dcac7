"""The short way between a socket and its endpoint, past ASGI's queue and messages.

Our protocol class puts a ``Direct`` into the scope's extensions. Whoever finds none there, because
another server or a test client runs the application, goes the long way: it means the same.
Small whole text frames, which nearly all are, are read and written here; whatever is unusual about
a frame is left to the library. What is told to many is framed once (``Encoded``). Pure.
"""

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # A platform without its compiled part: the same, slower.
    from websockets.utils import apply_mask

EXTENSION = "holdfast.direct"
"""The key in ``scope["extensions"]``."""

_SMALL = 1_024
"""Bytes; no larger than the least that ``max_frame_bytes`` may be, whose limit is the library's."""

_TEXT = 0x81
"""First byte of a text frame that is a whole message."""
_MASKED = 0x80
_SIZE_IN_2_BYTES, _SIZE_IN_8_BYTES = 126, 127
_HEAD_2, _HEAD_8 = bytes((_TEXT, _SIZE_IN_2_BYTES)), bytes((_TEXT, _SIZE_IN_8_BYTES))


Kind = Literal["stock", "push", "reply"]


class Encoded(Struct, frozen=True, gc=False):
    """What is said, ready to be written, to however many."""

    text: bytes
    frame: bytes
    """The same as a whole WebSocket frame, for the short way."""
    kind: Kind
    version: int = 0
    """Of the stock it tells, if it tells any."""


Write = Callable[[bytes], object]
"""Writes a ready frame at once, or keeps it until it can be."""


class Outlet(Protocol):
    """Whoever has frames for a socket is told when they may be written.

    To be told is cheaper than to ask for every frame: changes are rare.
    """

    def free(self, write: Write) -> None:
        """From now on they may, in this way."""

    def full(self) -> None:
        """Not for now: so much waits for the peer already."""

    def gone(self) -> None:
        """Never again: nobody is there, or will be, to read them."""


class Direct(Protocol):
    """One socket, as its endpoint may use it at once."""

    def attach(self, outlet: Outlet, system_bytes: int, own_bytes: int) -> None:
        """Have an outlet told, at once and until ``detach``.

        For a peer that does not read, the system keeps at most about ``system_bytes``. The outlet
        is full when the server has ``own_bytes`` more, and free again when it has much less.
        """

    def detach(self) -> None:
        """Tell the outlet that it is over."""

    @property
    def ended_with(self) -> int | None:
        """The close code the server ended the socket with of itself, for what came on it or did
        not; ``None`` while it is open, and where the peer was first.
        """

    def hear(self, listener: Callable[[str], None] | None) -> None:
        """Have small text frames handed to the listener as they come, the others by ASGI.

        ``None`` is for the end: whatever else the peer says need not be read.
        """


def encoded(text: bytes, kind: Kind, version: int = 0) -> Encoded:
    """Make a text ready, once for all who are told."""
    return Encoded(text, text_frame(text), kind, version)


def text_frame(text: bytes) -> bytes:
    """A server's frame of a text (RFC 6455, 5.2)."""
    size = len(text)
    if size < _SIZE_IN_2_BYTES:
        return bytes((_TEXT, size)) + text
    if size < 2**16:
        return _HEAD_2 + size.to_bytes(2) + text
    return _HEAD_8 + size.to_bytes(8) + text


def small_text(data: bytes, at: int) -> tuple[str, int] | None:
    """The client's text frame that begins at ``at``, and where it ends.

    ``None`` when it is not there whole, or not a small and whole text, or not right.
    """
    if len(data) < at + 6 or data[at] != _TEXT:
        return None
    size, start = data[at + 1] - _MASKED, at + 6
    if size == _SIZE_IN_2_BYTES:
        size, start = int.from_bytes(data[at + 2 : at + 4]), at + 8
        if not _SIZE_IN_2_BYTES <= size <= _SMALL:
            return None
    elif not 0 <= size < _SIZE_IN_2_BYTES:
        return None
    end = start + size
    if end > len(data):
        return None
    try:
        return apply_mask(data[start:end], data[start - 4 : start]).decode(), end
    except UnicodeDecodeError:
        return None
