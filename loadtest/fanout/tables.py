"""The figures of each section as a Markdown table, and as charts."""

from collections.abc import Callable

from loadtest.chart import Bar, Series, bars, lines
from loadtest.fanout.sections import OURS, Section, ratio
from loadtest.figures import Spread
from loadtest.tables import span, table

COLOURS = (OURS, "broadcast", "plain", "deflate")


def markdown(section: Section) -> str:
    """The table of a section."""
    return _TABLES[section.name](section)


def charts(section: Section) -> dict[str, str]:
    """The charts of a section as SVG, by file name."""
    return _CHARTS[section.name](section) if section.name in _CHARTS else {}


def _times(spread: Spread) -> str:
    return f"{spread.median:.2f} × ({spread.low:.2f}–{spread.high:.2f})"


def _writes(section: Section) -> str:
    head = (
        "one message to everybody",
        "µs CPU a write",
        "writes a core, a second",
        "ours: × as many",
    )
    ours = section.row(OURS)
    rows = []
    for row in section.rows:
        us = row.spread("us")
        times = "" if ours in (None, row) or ours is None else _times(ratio(row, ours, "us"))
        rows.append([row.title, span(us, ".1f"), f"{1e6 / us.median:,.0f}", times])
    return table(head, rows)


def _writes_chart(section: Section) -> dict[str, str]:
    rows = [
        Bar(
            row.title.replace("`", ""),
            1e6 / row.spread("us").median,
            f"{1e6 / row.spread('us').median:,.0f}",
            "ours" if row.way == OURS else "bar",
        )
        for row in section.rows
    ]
    caption = "writes to sockets in a CPU second of the server process; median"
    return {"writes.svg": bars("One message to thousands of sockets", caption, rows)}


def _held(section: Section) -> str:
    head = ("one message to everybody", "CPU ms at a stretch", "ms by the clock", "longest")
    rows = []
    for row in section.rows:
        late = row.spread("ms")
        cells = (span(row.spread("cpu_ms"), ".1f"), f"{late:.1f}", f"{late.high:.1f}")
        rows.append([row.title, *cells])
    return table(head, rows)


def _memory(section: Section) -> str:
    places = list(dict.fromkeys(row.x for row in section.rows))
    head = ("KiB a viewer", *(f"at {x}" for x in places))
    rows = []
    for way in dict.fromkeys(row.way for row in section.rows):
        found = [row for row in section.rows if row.way == way]
        rows.append([found[0].title, *(span(row.spread("kib"), ".1f") for row in found)])
    return table(head, rows)


def _memory_chart(section: Section) -> dict[str, str]:
    places = list(dict.fromkeys(row.x for row in section.rows))
    series = []
    for way in COLOURS:
        found = [row for row in section.rows if row.way == way]
        if found:
            values = [row.spread("kib").median for row in found]
            title = found[0].title.replace("`", "")
            series.append(Series(title, values, COLOURS.index(way)))
    caption = "KiB of the server process for each idle viewer, by viewers"
    return {"memory.svg": lines("Memory for each viewer", caption, places, series)}


def _door(section: Section) -> str:
    head = ("one attempt to connect", "µs CPU", "× a welcome", "× an upgrade")
    welcome, upgrade = section.row("welcome"), section.row("upgrade")
    rows = []
    for row in section.rows:
        ratios = (
            "" if other is None or other is row else _times(ratio(row, other, "us"))
            for other in (welcome, upgrade)
        )
        rows.append([row.title, span(row.spread("us")), *ratios])
    return table(head, rows)


FRESH = {
    "stock_p50": "stock, ms: half of it within",
    "stock_p99": "99 of 100 within",
    "sold_out_p50": "sold out, ms: half of it within",
    "sold_out_p99": "99 of 100 within",
    "rate": "reservations a second",
}


def _fresh(section: Section) -> str:
    head = ("", "median (least–most) of the rounds")
    (row,) = section.rows[:1]
    rows = [[title, span(row.spread(name))] for name, title in FRESH.items()]
    rows += [
        [name.removeprefix("cores: ") + ", cores busy", span(row.spread(name), ".2f")]
        for name in row.values
        if name.startswith("cores: ")
    ]
    return table(head, rows)


_TABLES: dict[str, Callable[[Section], str]] = {
    "writes": _writes,
    "held": _held,
    "memory": _memory,
    "door": _door,
    "fresh": _fresh,
}
_CHARTS: dict[str, Callable[[Section], dict[str, str]]] = {
    "writes": _writes_chart,
    "memory": _memory_chart,
}
