"""Charts as SVG, written by hand: bars, lines over named places, and lines over time.

They are narrow, so that their text can be read on a telephone, have no background, and take their
colours from the reader's scheme, light or dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 420
MARGIN = 12
LINE = 17
"""Height of a line of text."""
_FEW_SPOTS = 30

STYLE = """
text{font:13px system-ui,sans-serif;fill:#24292f}
.title{font-weight:600;font-size:15px}.small{font-size:12px;fill:#57606a}.bold{font-weight:600}
.bar{fill:#afb8c1}.ours{fill:#0a7d55}.bad{fill:#c4432b}.grid{stroke:#d0d7de;stroke-width:1}
.s0{stroke:#0a7d55;fill:#0a7d55}.s1{stroke:#b35900;fill:#b35900}.s2{stroke:#3b63c9;fill:#3b63c9}
.s3{stroke:#8250df;fill:#8250df}.s4{stroke:#57606a;fill:#57606a}
polyline{fill:none!important;stroke-width:2.5;stroke-linejoin:round}
.dashed{stroke-dasharray:5 4}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}.small{fill:#9da7b3}.bar{fill:#57606a}.ours{fill:#3fb984}.bad{fill:#f0765f}
.grid{stroke:#3d444d}
.s0{stroke:#3fb984;fill:#3fb984}.s1{stroke:#f0a04b;fill:#f0a04b}.s2{stroke:#7aa2f7;fill:#7aa2f7}
.s3{stroke:#c297ff;fill:#c297ff}.s4{stroke:#9da7b3;fill:#9da7b3}}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, with what is written over it and at its end."""

    label: str
    value: float
    note: str
    kind: str = "bar"
    """``bar``, ``ours`` or ``bad``."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart, a value for each place; ``None`` where there is none."""

    label: str
    values: Sequence[float | None]
    colour: int
    dashed: bool = False


def bars(title: str, caption: str, rows: Sequence[Bar]) -> str:
    """Bars under each other, the label over each, its note at the end."""
    longest = max(row.value for row in rows)
    room = WIDTH - 2 * MARGIN - 8 * max(len(row.note) for row in rows)
    parts, top = _head(title, caption)
    for row in rows:
        weight = " class='bold'" if row.kind == "ours" else ""
        parts.append(f"<text x='{MARGIN}' y='{top + 13}'{weight}>{escape(row.label)}</text>")
        length = max(2.0, room * row.value / longest)
        parts.append(
            f"<rect class='{row.kind}' x='{MARGIN}' y='{top + 19}' width='{length:.1f}'"
            " height='12' rx='2'/>"
        )
        at = MARGIN + length + 6
        parts.append(f"<text class='small' x='{at:.1f}' y='{top + 29}'>{escape(row.note)}</text>")
        top += 40
    return _svg(title, parts, top + MARGIN)


def lines(
    title: str, caption: str, places: Sequence[str], series: Sequence[Series], *, log: bool = False
) -> str:
    """Lines over places that stand evenly; the legend is over them, a line each."""
    parts, top = _head(title, caption)
    for one in series:
        parts.append(_stroke(one, [(MARGIN, top + 9), (MARGIN + 26, top + 9)]))
        parts.append(f"<text x='{MARGIN + 34}' y='{top + 13}'>{escape(one.label)}</text>")
        top += LINE + 2
    top += 10
    height, left, right = 190, 52, WIDTH - 30
    known = [value for one in series for value in one.values if value is not None]
    scale = _log_scale(known) if log else _scale(known)
    parts += _ticks(scale, top, height, left, right + 10)
    step = (right - left - 20) / max(1, len(places) - 1)
    xs = [left + 20 + step * number for number in range(len(places))]
    for x, place in zip(xs, places, strict=True):
        parts.append(
            f"<text class='small' text-anchor='middle' x='{x:.1f}' y='{top + height + 18}'>"
            f"{escape(place)}</text>"
        )
    for one in series:
        spots = [
            (x, top + height * (1 - scale.place(value)))
            for x, value in zip(xs, one.values, strict=True)
            if value is not None
        ]
        parts.append(_stroke(one, spots))
        parts += [
            f"<circle class='s{one.colour}' cx='{x:.1f}' cy='{y:.1f}' r='3.5'/>" for x, y in spots
        ]
    return _svg(title, parts, top + height + 18 + MARGIN)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line over time: seconds and values."""

    label: str
    spots: Sequence[tuple[float, float]]
    colour: int


def over_time(
    title: str, caption: str, seconds: float, curves: Sequence[Curve], *, log: bool = False
) -> str:
    """Lines over the seconds of a run; the legend is over them, a line each."""
    parts, top = _head(title, caption)
    for number, curve in enumerate(curves):
        x, y = MARGIN + number % 2 * WIDTH / 2, top + number // 2 * (LINE + 2)
        parts.append(_stroke(Series("", (), curve.colour), [(x, y + 9), (x + 22, y + 9)]))
        parts.append(f"<text x='{x + 28:.0f}' y='{y + 13}'>{escape(curve.label)}</text>")
    top += (len(curves) + 1) // 2 * (LINE + 2) + 12
    height, left, right = 170, 52, WIDTH - 24
    known = [value for curve in curves for _, value in curve.spots if value > 0 or not log]
    scale = _log_scale(known) if log and known else _scale([*known, 1.0])
    parts += _ticks(scale, top, height, left, right)
    for tick in _times(seconds):
        x = left + (right - left) * tick / max(1.0, seconds)
        parts.append(
            f"<text class='small' text-anchor='middle' x='{x:.1f}' y='{top + height + 18}'>"
            f"{_clock(tick)}</text>"
        )
    for curve in curves:
        spots = [
            (
                left + (right - left) * at_s / max(1.0, seconds),
                top + height * (1 - scale.place(value)),
            )
            for at_s, value in curve.spots
            if value > 0 or not log
        ]
        parts.append(_stroke(Series("", (), curve.colour), spots))
        # A line of one point cannot be seen.
        parts += [
            f"<circle class='s{curve.colour}' cx='{x:.1f}' cy='{y:.1f}' r='2.2'/>"
            for x, y in (spots if len(spots) <= _FEW_SPOTS else ())
        ]
    return _svg(title, parts, top + height + 18 + MARGIN)


def _times(seconds: float) -> list[float]:
    """Where the axis of time is labelled: some five times, round ones."""
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    step = next((one for one in steps if seconds / one <= 6), 7200)
    return [float(step * number) for number in range(int(seconds // step) + 1)]


def _clock(at_s: float) -> str:
    minutes, seconds = divmod(round(at_s), 60)
    return f"{minutes}:{seconds:02}"


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value is, from 0 at the bottom to 1."""
        low, high, value = (
            (math.log10(one) for one in (self.low, self.high, max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        return (value - low) / (high - low)


def _ticks(scale: _Scale, top: float, height: float, left: float, right: float) -> list[str]:
    """The grid and the figures at its left."""
    parts = []
    for tick in scale.ticks:
        y = top + height * (1 - scale.place(tick))
        parts.append(f"<line class='grid' x1='{left}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(
            f"<text class='small' text-anchor='end' x='{left - 6}' y='{y + 4:.1f}'>{short(tick)}"
            "</text>"
        )
    return parts


def _scale(values: Sequence[float]) -> _Scale:
    most = max(values)
    unit = 10.0 ** math.floor(math.log10(most))
    step = next(unit * part for part in (0.2, 0.5, 1, 2) if most / (unit * part) <= 5)
    ticks = [step * number for number in range(math.ceil(most / step) + 1)]
    return _Scale(0, ticks[-1], ticks)


def _log_scale(values: Sequence[float]) -> _Scale:
    first = math.floor(math.log10(min(value for value in values if value > 0)))
    last = max(first + 1, math.ceil(math.log10(max(values))))
    return _Scale(10.0**first, 10.0**last, [10.0**n for n in range(first, last + 1)], log=True)


def short(value: float) -> str:
    """A number with few digits: 1.5, 40k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _stroke(one: Series, spots: Sequence[tuple[float, float]]) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    dashed = " dashed" if one.dashed else ""
    return f"<polyline class='s{one.colour}{dashed}' points='{points}'/>"


def _head(title: str, caption: str) -> tuple[list[str], int]:
    """The title and the lines of the caption; and where the chart begins."""
    parts = [f"<text class='title' x='{MARGIN}' y='{MARGIN + 12}'>{escape(title)}</text>"]
    top = MARGIN + 20
    for line in _wrapped(caption):
        parts.append(f"<text class='small' x='{MARGIN}' y='{top + 12}'>{escape(line)}</text>")
        top += LINE
    return parts, top + 10


def _wrapped(text: str, width: int = 62) -> list[str]:
    rows = [""]
    for word in text.split():
        if len(rows[-1]) + len(word) >= width:
            rows.append("")
        rows[-1] = f"{rows[-1]} {word}".strip()
    return rows


def _svg(title: str, parts: Sequence[str], height: float) -> str:
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' role='img'"
        f" aria-label='{escape(title, quote=True)}'>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )
