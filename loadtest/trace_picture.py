"""Draws the trace of one purchase, as it was sent by real processes.

    python -m loadtest.trace_picture --out .github/trace.svg

Each row is a span, under the one it is part of; its bar says when it was, its end how long it took.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from loadtest.chart import MARGIN, STYLE
from loadtest.collector import Received
from loadtest.one_purchase import spans_of_one_purchase

_WIDTH = 680
_BARS_FROM, _BARS_TO = 262, 612
"""Where the timeline begins and ends; the last bar's figure stands beyond it."""
_ROW, _BAR = 20, 11
_INDENT = 11
_TOP = 96
_STEPS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
_MOST_TICKS = 6

_KINDS = (("gateway", 0), ("Redis", 1), ("relay", 2), ("Stripe", 3), ("waiting, claims", 4))
"""Who is at work, and the colour of it in the style of all our charts."""


@dataclass(frozen=True, slots=True)
class Row:
    """A span where it stands in the tree."""

    span: Received
    depth: int

    @property
    def colour(self) -> int:
        """Who is at work."""
        name = self.span.name
        if name.startswith("EVALSHA"):
            return 1
        if name.startswith("Stripe"):
            return 3
        if name.startswith(("wait", "claim")):
            return 4
        return 2 if self.span.service == "relay" else 0

    @property
    def ms(self) -> float:
        """How long it took."""
        return (self.span.ended_ns - self.span.started_ns) / 1e6


def rows(spans: Sequence[Received]) -> list[Row]:
    """The spans as a tree, the oldest first on every level."""
    known = {span.span_id for span in spans}

    def below(parent: str | None, depth: int) -> Iterator[Row]:
        for span in spans:
            mine = span.parent_id == parent if parent else span.parent_id not in known
            if mine:
                yield Row(span, depth)
                yield from below(span.span_id, depth + 1)

    return list(below(None, 0))


def picture(spans: Sequence[Received]) -> str:
    """The waterfall as SVG."""
    tree = rows(spans)
    first = min(span.started_ns for span in spans)
    long_ms = (max(span.ended_ns for span in spans) - first) / 1e6
    scale = (_BARS_TO - _BARS_FROM) / long_ms
    height = _TOP + _ROW * len(tree) + MARGIN
    title = "One purchase, one trace"
    caption = (
        f"From the shopper's tap to the shop's till in {long_ms:.0f} ms: {len(tree)} spans of two"
        " processes, as a collector got them."
    )
    parts = [
        f"<text class='title' x='{MARGIN}' y='24'>{title}</text>",
        f"<text class='small' x='{MARGIN}' y='42'>{caption}</text>",
        *_legend(),
        *_grid(long_ms, scale, height),
    ]
    for number, row in enumerate(tree):
        started_ms = (row.span.started_ns - first) / 1e6
        parts += _bar(row, _TOP + _ROW * number, _BARS_FROM + started_ms * scale, row.ms * scale)
    return _svg(title, parts, height)


def _legend() -> Iterator[str]:
    x = float(MARGIN)
    for word, colour in _KINDS:
        yield f"<rect class='s{colour}' x='{x}' y='54' width='10' height='10' rx='2'/>"
        yield f"<text class='small' x='{x + 15}' y='63'>{word}</text>"
        x += 36 + 6.6 * len(word)


def _grid(long_ms: float, scale: float, height: float) -> Iterator[str]:
    step = next((step for step in _STEPS_MS if long_ms / step <= _MOST_TICKS), _STEPS_MS[-1])
    for tick in range(0, int(long_ms) + 1, step):
        x = _BARS_FROM + tick * scale
        yield (
            f"<line class='grid' x1='{x:.1f}' x2='{x:.1f}' y1='{_TOP - 8}' y2='{height - 8:.0f}'/>"
        )
        yield (
            f"<text class='small' text-anchor='middle' x='{x:.1f}' y='{_TOP - 13}'>{tick} ms</text>"
        )


def _bar(row: Row, top: int, x: float, width: float) -> Iterator[str]:
    bold = " class='bold'" if not row.depth else ""
    at = MARGIN + _INDENT * row.depth
    yield f"<text{bold} x='{at}' y='{top + 13}'>{escape(row.span.name)}</text>"
    width = max(2.0, width)
    yield (
        f"<rect class='s{row.colour}' x='{x:.1f}' y='{top + 4}' width='{width:.1f}'"
        f" height='{_BAR}' rx='2'/>"
    )
    took = f"{row.ms:.0f} ms" if row.ms >= 10 else f"{row.ms:.1f} ms"
    yield f"<text class='small' x='{x + width + 5:.1f}' y='{top + 14}'>{took}</text>"


def _svg(title: str, parts: Sequence[str], height: float) -> str:
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height:.0f}' role='img'"
        f" aria-label='{escape(title, quote=True)}'>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def main(words: Sequence[str]) -> None:
    """Run one purchase and draw it."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.trace_picture",
        description="Start a whole demo, buy something in it, and draw the trace of that purchase.",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the SVG to write, or write over"
    )
    out = parser.parse_args(words).out
    out.write_text(picture(spans_of_one_purchase()))
    sys.stdout.write(f"{out}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
