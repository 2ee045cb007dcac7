"""The picture of a trace: spans as a tree, each with its bar and its time."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest import trace_picture
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


def test_it_is_written_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trace_picture, "spans_of_one_purchase", lambda: SPANS)
    out = tmp_path / "trace.svg"
    trace_picture.main(["--out", str(out)])
    assert out.read_text() == picture(SPANS)
    assert capsys.readouterr().out == f"{out}\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [(["--help"], 0, "--out FILE"), ([], 2, "--out"), (["trace.svg"], 2, "--out")],
)
def test_nothing_starts_and_nothing_is_written_unless_a_file_is_named(
    words: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never() -> list[Received]:
        raise AssertionError("a purchase was begun")

    monkeypatch.setattr(trace_picture, "spans_of_one_purchase", never)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        trace_picture.main(words)
    said = capsys.readouterr()
    assert ended.value.code == code
    assert told in said.out + said.err
    assert not list(tmp_path.iterdir())
