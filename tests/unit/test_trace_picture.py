"""The picture of a trace: spans as a tree, each with its bar and its time."""

import re
from xml.etree import ElementTree

from loadtest.collector import Received
from loadtest.trace_picture import picture, rows

MS = 1_000_000


def sent(name: str, parent: str, started_ms: float, ended_ms: float) -> Received:
    """A span whose id is its name."""
    times = int(started_ms * MS), int(ended_ms * MS)
    service = "relay" if name == "deliver" else "gateway"
    return Received(service, name, "t", name, parent, "internal", *times, {}, "")


SPANS = [
    sent("reserve", "the browser's own", 0, 4),
    sent("EVALSHA a<b", "reserve", 1, 3.5),
    sent("checkout", "the browser's own", 10, 60),
    sent("deliver", "settle", 90, 100),
    sent("settle", "checkout", 20, 50),
]


def test_a_span_stands_under_the_one_it_is_part_of() -> None:
    tree = rows(sorted(SPANS, key=lambda span: span.started_ns))
    assert [(row.span.name, row.depth) for row in tree] == [
        ("reserve", 0), ("EVALSHA a<b", 1), ("checkout", 0), ("settle", 1), ("deliver", 2),
    ]  # fmt: skip


def test_a_bar_is_as_long_as_its_span_took() -> None:
    svg = picture(SPANS)
    ElementTree.fromstring(svg)
    assert "EVALSHA a&lt;b" in svg
    assert "2.5 ms" in svg
    widths = [float(width) for width in re.findall(r"width='([0-9.]+)' height='11'", svg)]
    assert len(widths) == len(SPANS)
    checkout, settle = widths[2], widths[3]
    assert abs(checkout / settle - 50 / 30) < 0.02
