"""The board: what the shop looks like, live in a terminal; plain lines where there is none."""

import itertools
import sys
from typing import Protocol, TextIO

from gateway.demo.counts import Counts
from gateway.demo.reading import Money, Product, Reading
from gateway.shows.prices import decimals

_BAR_CELLS = 24
_SOLD, _HELD, _LEFT = "█", "▓", "░"
_LINES_AROUND_PRODUCTS = 20
"""Lines of the board that are not products."""
_FEWEST_PRODUCTS = 3
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


def figures(reading: Reading, counts: Counts | None) -> str:
    """The figures in one line."""
    left = sum(product.available for product in reading.products)
    parts = [
        f"{reading.viewers} viewers",
        f"{reading.holds} holds",
        f"{reading.orders} orders",
        f"{money(reading.taken)} taken",
        f"{reading.till_orders} at the till",
        f"{left} units left",
    ]
    if counts and counts.errors:
        parts.append(f"{counts.errors} errors")
    return ", ".join(parts)


def crowd_line(counts: Counts) -> str:
    """What the crowd did, in one line."""
    return (
        f"{counts.here} of {counts.shoppers} here, {counts.held} holds, {counts.bought} bought, "
        f"{counts.declined} declined, {counts.second_steps} asked by their bank, "
        f"{counts.given_up} given up, {counts.beaten} too late"
    )


def money(taken: Money) -> str:
    """Amounts as people write them."""
    amounts = [
        f"{amount / 10 ** decimals(currency):,.{decimals(currency)}f} {currency}"
        for currency, amount in sorted(taken.items())
    ]
    return " + ".join(amounts) or "0"


def bar(product: Product, cells: int = _BAR_CELLS) -> tuple[str, str, str]:
    """A product's units as three runs of cells: sold, held, left.

    Whatever there is of a kind gets a cell at least, for the last unit is the one to watch.
    """
    units = (product.sold, product.held, product.available)
    total = sum(units)
    if not total:
        return "", "", ""
    lengths = [max(1, count * cells // total) if count else 0 for count in units]
    longest = lengths.index(max(lengths))
    lengths[longest] += cells - sum(lengths)
    return _SOLD * lengths[0], _HELD * lengths[1], _LEFT * lengths[2]


def room_for(products: tuple[Product, ...], height: int) -> tuple[tuple[Product, ...], int]:
    """The products a terminal of this height can show, and how many it cannot."""
    room = max(_FEWEST_PRODUCTS, height - _LINES_AROUND_PRODUCTS)
    return products[:room], max(0, len(products) - room)
