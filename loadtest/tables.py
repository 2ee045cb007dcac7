"""The figures of each section as a Markdown table, and as charts."""

from collections.abc import Callable, Sequence

from loadtest.chart import Bar, Series, bars, lines, short
from loadtest.figures import (
    Point,
    Section,
    Spread,
    times_a_core,
    times_a_core_of_all,
    times_in_total,
)
from loadtest.sections import RIVALS
from loadtest.ways.menu import WAYS

OURS = "ours"
COLOURS = {way: number for number, way in enumerate(RIVALS)}
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def markdown(section: Section) -> str:
    """The table of a section."""
    return _TABLES[section.name](section)


def charts(section: Section) -> dict[str, str]:
    """The charts of a section as SVG, by file name."""
    return _CHARTS[section.name](section) if section.name in _CHARTS else {}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, the first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def span(spread: Spread | None, form: str = ",.0f") -> str:
    """The median, with the least and the most."""
    if spread is None:
        return "–"
    return f"{spread.median:{form}} ({spread.low:{form}}–{spread.high:{form}})"


def _ratio(spread: Spread | None) -> str:
    return "–" if spread is None else f"{spread.median:.1f} × ({spread.low:.1f}–{spread.high:.1f})"


def _hot(section: Section) -> str:
    ours = section.point(OURS)
    head = (
        "one hot sku, one gateway process",
        "decided/s",
        "gateway CPU, µs each",
        "server CPU, µs each",
        "ours: × a gateway core",
        "ours: × in total",
        "ours: × a core, server included",
    )
    rows = []
    for point in section.points:
        own = [point.title, span(point.per_s), f"{point.cpu_us:.1f}"]
        own.append(f"{point.server_us:.1f}" if point.server_us else "–")
        if ours is None or point.way == OURS:
            rows.append([*own, "", "", ""])
            continue
        ratios = [f(ours, point) for f in (times_a_core, times_in_total, times_a_core_of_all)]
        rows.append([*own, *(_ratio(ratio) for ratio in ratios)])
    return table(head, rows)


def _hot_charts(section: Section) -> dict[str, str]:
    def kind(point: Point) -> str:
        return "ours" if point.way == OURS else "bad" if WAYS[point.way].oversells else "bar"

    def label(point: Point) -> str:
        return f"{point.title} (oversells)" if WAYS[point.way].oversells else point.title

    core = [
        Bar(label(one), one.per_core.median, f"{one.per_core.median:,.0f}", kind(one))
        for one in section.points
    ]
    total = [
        Bar(label(one), one.per_s.median, f"{one.per_s.median:,.0f}", kind(one))
        for one in section.points
    ]
    title = "One hot sku: reservations decided"
    return {
        "hot-core.svg": bars(title, "in a CPU second of the gateway process; median", core),
        "hot-total.svg": bars(title, "in a second, one gateway process; median", total),
    }


def _race(section: Section) -> str:
    head = ("two processes, everything sent twice", "there", "handed out", "oversold", "no answer")
    rows = [
        [
            point.title,
            f"{sum(one.units for one in point.verdicts):,}",
            f"{sum(max(one.moved, one.handed_out) for one in point.verdicts):,}",
            f"**{point.oversold:,}**" if point.oversold else "0",
            f"{sum(one.given_up for one in point.verdicts):,}",
        ]
        for point in section.points
    ]
    return table(head, rows)


def _by_place(section: Section, what: str) -> str:
    """Places down, the three ways across: a core, and in total."""
    ways = [way for way in RIVALS if section.point(way)]
    head = [what]
    for way in ways:
        head += [f"{WAYS[way].title}: a core", "in total"]
    head += [f"ours × {WAYS[way].title}, a core" for way in ways if way != OURS]
    rows = []
    for x in dict.fromkeys(point.x for point in section.points):
        points = {way: found for way in ways if (found := section.point(way, x))}
        row = [x]
        for point in points.values():
            row += [f"{point.per_core:,.0f}", f"{point.per_s:,.0f}"]
        ours = points[OURS]
        row += [_ratio(times_a_core(ours, one)) for way, one in points.items() if way != OURS]
        rows.append(row)
    return table(head, rows)


def _lines_by_place(
    section: Section, file: str, title: str, caption: str, of: Callable[[Point], float]
) -> dict[str, str]:
    places = list(dict.fromkeys(point.x for point in section.points))
    series = []
    for way in RIVALS:
        if section.point(way):
            points = [section.point(way, x) for x in places]
            values = [of(one) if one else None for one in points]
            series.append(Series(WAYS[way].title, values, COLOURS[way]))
    return {file: lines(title, caption, places, series, log=True)}


def _latency(section: Section) -> str:
    head = ("load", "way", "requests/s", *QUANTILES, "no answer")
    rows = [
        [
            point.x,
            point.title,
            f"{point.per_s:,.0f}",
            *(_ms(point.latency_ms(quantile)) for quantile in QUANTILES.values()),
            f"{sum(run.given_up for run in point.runs):,}",
        ]
        for point in section.points
        if point.x != "highest"
    ]
    return table(head, rows)


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def _latency_chart(section: Section) -> dict[str, str]:
    series = [
        Series(
            f"{point.title}, {point.x}: {short(point.per_s.median)}/s",
            [point.latency_ms(quantile) for quantile in QUANTILES.values()],
            COLOURS[point.way],
            dashed=point.x == "90%",
        )
        for point in section.points
        if point.x != "highest"
    ]
    caption = (
        "ms from the moment a request was meant to arrive to its answer, at 50 % and (dashed)"
        " 90 % of the highest rate of each way"
    )
    chart = lines("Latency, open loop", caption, list(QUANTILES), series, log=True)
    return {"latency.svg": chart}


def _durability(section: Section) -> str:
    head = ("", "way", "a second", "gateway CPU, µs each", "in total, × nothing kept")
    rows = []
    for point in section.points:
        bare = section.point(point.way)
        share = "" if bare is None or bare is point else f"{times_in_total(point, bare):.2f}"
        rows.append([point.x, point.title, span(point.per_s), f"{point.cpu_us:.0f}", share])
    return table(head, rows)


def _durability_charts(section: Section) -> dict[str, str]:
    drawn = {}
    for way, file, what in (
        (OURS, "durability.svg", "reservations"),
        ("sale", "durability-sale.svg", "sales"),
    ):
        points = [point for point in section.points if point.way == way]
        rows = [Bar(one.x, one.per_s.median, f"{one.per_s:,.0f}/s", "ours") for one in points]
        if rows:
            drawn[file] = bars(f"What durability costs: {what}", "a second, one process", rows)
    return drawn


def _slot(section: Section) -> str:
    head = (
        "reservations in a call",
        "decided/s",
        "Valkey, cores",
        "CPU, µs each",
        "a core, a second",
    )
    rows = []
    for point in section.points:
        cores = [run.server_cpu_s / run.wall_s for run in point.runs if run.server_cpu_s]
        server = f"{point.server_us:.1f}" if point.server_us else "–"
        core = f"{_of_a_core(point):,.0f}"
        rows.append([point.x, span(point.per_s), f"{max(cores, default=0):.2f}", server, core])
    return table(head, rows)


def _of_a_core(point: Point) -> float:
    """Decided in a CPU second of the server; in a second, where its CPU is not known."""
    return 1e6 / point.server_us.median if point.server_us else point.per_s.median


def _slot_chart(section: Section) -> dict[str, str]:
    rows = [
        Bar(f"{one.x} in a call", _of_a_core(one), f"{_of_a_core(one):,.0f}", "ours")
        for one in section.points
    ]
    caption = "reservations decided in a CPU second of one Valkey, which uses one core for a slot"
    return {"slot.svg": bars("One slot at its limit", caption, rows)}


_TABLES: dict[str, Callable[[Section], str]] = {
    "hot": _hot,
    "race": _race,
    "skus": lambda section: _by_place(section, "skus"),
    "bundles": lambda section: _by_place(section, "lines in a request"),
    "processes": lambda section: _by_place(section, "gateway processes"),
    "latency": _latency,
    "durability": _durability,
    "slot": _slot,
}
_CHARTS: dict[str, Callable[[Section], dict[str, str]]] = {
    "hot": _hot_charts,
    "skus": lambda section: _lines_by_place(
        section,
        "skus.svg",
        "More skus, one process",
        "reservations decided in a CPU second of the gateway, by skus on sale",
        lambda point: point.per_core.median,
    ),
    "processes": lambda section: _lines_by_place(
        section,
        "processes.svg",
        "More gateway processes, one hot sku",
        "reservations decided a second by all of them, by gateway processes",
        lambda point: point.per_s.median,
    ),
    "latency": _latency_chart,
    "durability": _durability_charts,
    "slot": _slot_chart,
}
