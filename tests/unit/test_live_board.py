"""The board as rich draws it."""

import io

from rich.console import Console

from gateway.demo.counts import Counts
from gateway.demo.live_board import LiveBoard
from gateway.demo.reading import Product, Reading


def test_the_picture_names_everything_and_markup_in_a_title_stays_text() -> None:
    products = (
        Product("a", "[red]Lamp[/red]", available=3, held=1, sold=2),
        Product("b", "Board", available=0, held=1, sold=2),
        Product("c", "Mug", available=0, held=0, sold=2),
    )
    reading = Reading(7, 2, 5, 4, 5, {"USD": 123450}, products, ("20:11:54  sold  [b]1[/b] x Mug",))
    board = LiveBoard(io.StringIO(), "Holdfast")
    console = Console(file=io.StringIO(), width=100, height=40)
    with console.capture() as capture:
        console.print(board.picture(reading, Counts(shoppers=20, here=7)))
    board.close()
    picture = capture.get()
    for text in ("[red]Lamp[/red]", "all held", "sold out", "1,234.50 USD", "[b]1[/b]", "7 of 20"):
        assert text in picture
