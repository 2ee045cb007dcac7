"""What a board says of a reading: amounts, bars and lines, cut to the terminal. Pure."""

from gateway.demo.counts import Counts
from gateway.demo.reading import Money, Product, Reading
from gateway.shows.prices import decimals

_BAR_CELLS = 24
_SOLD, _HELD, _LEFT = "█", "▓", "░"
_LINES_AROUND_PRODUCTS = 20
"""Lines of the board that are not products."""
_FEWEST_PRODUCTS = 3


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
