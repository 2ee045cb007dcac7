"""What the board says where there is no terminal."""

import io

from gateway.demo.board import PlainBoard, open_board
from gateway.demo.figures import figures
from gateway.demo.reading import Product, Reading

LAMP = Product("lamp", "Lamp", available=3, held=2, sold=5)
READING = Reading(7, 2, 5, 4, 5, {"USD": 123450}, (LAMP,), ())


def test_without_a_terminal_it_is_lines_and_no_line_twice() -> None:
    stream = io.StringIO()
    board = open_board(stream, "heading")
    assert isinstance(board, PlainBoard)
    for _ in range(40):
        board.show(READING, None)
    board.close()
    assert stream.getvalue() == figures(READING, None) + "\n"
