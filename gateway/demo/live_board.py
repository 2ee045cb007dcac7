"""The live board, drawn with rich."""

from typing import TextIO

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.demo.counts import Counts
from gateway.demo.figures import bar, crowd_line, money, room_for
from gateway.demo.reading import Product, Reading


class LiveBoard:
    """Redraws itself in place."""

    def __init__(self, stream: TextIO, heading: str) -> None:
        self._console = Console(file=stream)
        self._heading = heading
        # Drawn when there is something new, not by a thread of its own.
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, reading: Reading, counts: Counts | None) -> None:
        """Draw a reading."""
        self._live.update(self.picture(reading, counts), refresh=True)

    def close(self) -> None:
        """Keep the last picture and give the terminal back."""
        self._live.stop()

    def picture(self, reading: Reading, counts: Counts | None) -> RenderableType:
        """The whole board."""
        shown, hidden = room_for(reading.products, self._console.height)
        parts: list[RenderableType] = [_figures(reading, counts), _products(shown)]
        if hidden:
            parts.append(Text(f" … and {hidden} more", style="dim"))
        if counts:
            parts.append(Text(f" The crowd: {crowd_line(counts)}", style="cyan"))
        parts.append(Text("\n".join(f" {event}" for event in reading.events), style="dim"))
        return Panel(
            Group(*parts),
            title=f"[bold]{self._heading}",
            subtitle="Ctrl-C stops everything",
            box=ROUNDED,
            border_style="blue",
        )


def _figures(reading: Reading, counts: Counts | None) -> Table:
    errors = counts.errors if counts else 0
    cells = {
        "viewers": (str(reading.viewers), "bold"),
        "active holds": (str(reading.holds), "bold yellow"),
        "orders": (str(reading.orders), "bold green"),
        "at the till": (str(reading.till_orders), "bold green"),
        "taken": (money(reading.taken), "bold green"),
        "errors": (str(errors), "bold red" if errors else "bold"),
    }
    table = Table(box=None, expand=True, pad_edge=True)
    for name in cells:
        table.add_column(name, justify="center", header_style="dim", no_wrap=True)
    table.add_row(*(Text(text, style=style) for text, style in cells.values()))
    return table


def _products(products: tuple[Product, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, header_style="dim")
    table.add_column("product", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("█ sold  ▓ held  ░ left", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for product in products:
        sold, held, left = bar(product)
        cells = Text.assemble((sold, "green"), (held, "yellow"), (left, "blue"))
        table.add_row(Text(product.title), cells, _left(product))
    return table


def _left(product: Product) -> Text:
    if product.available:
        return Text(str(product.available))
    return Text("all held", style="yellow") if product.held else Text("sold out", style="red")
