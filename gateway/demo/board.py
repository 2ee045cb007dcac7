"""The board: what the shop looks like, live in a terminal; plain lines where there is none."""

import itertools
import sys
from typing import Protocol, TextIO

from gateway.demo.counts import Counts
from gateway.demo.figures import figures
from gateway.demo.reading import Reading

_PLAIN_EVERY = 8
"""One plain line for so many readings: every two seconds."""


class Board(Protocol):
    """Shows readings until it is closed."""

    def show(self, reading: Reading, counts: Counts | None) -> None:
        """Show a reading, and what the crowd did if there is one."""

    def close(self) -> None:
        """Leave the terminal as it was, with the last picture on it."""


def open_board(stream: TextIO, heading: str) -> Board:
    """A live board on a terminal that can show one; plain lines otherwise."""
    if stream.isatty():
        try:
            from gateway.demo.live_board import LiveBoard  # noqa: PLC0415
        except ImportError:
            sys.stderr.write("For a live board: pip install 'holdfast[demo]'\n")
        else:
            return LiveBoard(stream, heading)
    return PlainBoard(stream)


class PlainBoard:
    """A line now and then, when it says something new."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._readings = itertools.count()

    def show(self, reading: Reading, counts: Counts | None) -> None:
        """Write a line every now and then."""
        if next(self._readings) % _PLAIN_EVERY:
            return
        line = figures(reading, counts)
        if line != self._last:
            self._stream.write(line + "\n")
            self._stream.flush()
        self._last = line

    def close(self) -> None:
        """Nothing to leave behind."""
