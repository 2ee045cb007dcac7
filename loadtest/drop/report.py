"""The report of a run: a page with plots, the same in Markdown, and a summary for the terminal."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from loadtest.drop.books import Books
from loadtest.drop.measured import Measured
from loadtest.drop.plots import plots
from loadtest.drop.ruling import VOID, Check, Verdict

_NO_CENTS = frozenset({"CLP", "JPY", "KRW", "VND"})
"""The better known of the currencies whose minor unit is the unit."""

PAGE = "report.html"
SUMMARY = "summary.md"

_STYLE = """
:root{color-scheme:light dark;--ink:#24292f;--soft:#57606a;--line:#d0d7de;--paper:#fff;
--good:#0a7d55;--bad:#c4432b;--void:#9a6700;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--line:#3d444d;
--paper:#0d1117;--good:#3fb984;--bad:#f0765f;--void:#e3b341;--card:#161b22}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
margin:0 auto;max-width:72rem;padding:1.25rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.soft{color:var(--soft);margin:.25rem 0}
.good,.bad,.void{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}
.void{color:var(--void)}
ul.why{padding-left:1.1rem}ul.why li{margin:.3rem 0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
td,th{padding:.35rem .4rem;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left;padding-left:0}
th{color:var(--soft);font-weight:500}td:not(:first-child){white-space:nowrap}
@media(max-width:40rem){table{font-size:.8rem}td,th{padding:.3rem .25rem}}
.notes{margin-top:2rem}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));
gap:0 2.5rem;align-items:start}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem}
.plots svg{width:100%;height:auto;background:var(--card);border-radius:8px}
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table, each cell a text; ``marks`` colours the last cell of a row."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def publish(verdict: Verdict, measured: Measured, books: Books, out: Path) -> str:
    """Write the page and the summary into a folder; the summary for the terminal."""
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).write_text(page(verdict, measured, books))
    (out / SUMMARY).write_text(markdown(verdict, measured, books))
    return terminal(verdict, measured, books, out)


def _tables(verdict: Verdict, measured: Measured, books: Books) -> list[_Table]:
    return [
        _Table(
            "Thresholds",
            ("figure", "found", "at most", ""),
            [
                (one.name, one.figure(one.found), one.figure(one.at_most), _kept(one))
                for one in verdict.checks
            ],
        ),
        _Table("Books", ("", "count", "sum"), _books(books)),
        _Table(
            "Steps",
            ("step", "answers", "errors", "p50", "p90", "p99", "max, ms"),
            [
                (
                    *(one.name, f"{one.count:,}", f"{one.errors:,}"),
                    *(f"{ms:,.0f}" for ms in (one.p50_ms, one.p90_ms, one.p99_ms, one.max_ms)),
                )
                for one in measured.steps.values()
            ],
        ),
        _Table(
            "Answers",
            ("step", "answer", "count"),
            [(step, code, f"{n:,}") for (step, code), n in sorted(measured.said.items())],
        ),
    ]


def _kept(check: Check) -> str:
    if check.kept is None:
        return "not measured" if check.happened else "did not happen"
    return "kept" if check.kept else "not kept"


def _books(books: Books) -> list[tuple[str, str, str]]:
    sold, there = sum(books.sold.values()), sum(books.started.values())
    rows = [
        ("units there were", f"{there:,}", ""),
        ("units sold", f"{sold:,}", ""),
        ("orders of this run", f"{books.run.orders:,}", _sums(books.run.amount)),
    ]
    if books.till is not None:
        till = books.till
        rows.append(("the same at the point of sale", f"{till.orders:,}", _sums(till.amount)))
    rows += [
        ("orders in those hours, all", f"{books.paid_orders:,}", _sums(books.owed)),
        ("payments taken", f"{books.captures:,}", _sums(books.captured)),
        ("payments not at rest", f"{books.unsettled:,}", ""),
    ]
    return rows


def _sums(amounts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{amount:,} {name}" if name in _NO_CENTS else f"{amount / 100:,.2f} {name}"
        for name, amount in sorted(amounts.items())
    )


def _facts(measured: Measured) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(measured.began_at))
    return f"{began}, {measured.took_s:.0f} s, {measured.shoppers:,} shoppers at most"


def _why(verdict: Verdict) -> list[str]:
    failures = [f"{one.cause.value}: {one.sentence}" for one in verdict.failures]
    load = [f"the load itself: {sentence}" for sentence in verdict.problems]
    first = [*load, *failures] if verdict.code == VOID else [*failures, *load]
    return [*first, *verdict.unmeasured]


def page(verdict: Verdict, measured: Measured, books: Books) -> str:
    """One page that needs nothing else: the verdict, why, the figures, the plots."""
    why = "".join(f"<li>{escape(sentence)}</li>" for sentence in _why(verdict))
    notes = "".join(f"<p class='soft'>{escape(note)}</p>" for note in measured.notes)
    tables = [_html(table) for table in _tables(verdict, measured, books) if table.rows]
    drawn = "".join(f"<div>{svg}</div>" for svg in plots(measured, books).values())
    title = escape(f"{verdict.scenario}: {verdict.word}")
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>
<style>{_STYLE}</style>
<h1>{escape(verdict.scenario)}: <span class="{verdict.word}">{verdict.word}</span></h1>
<p class="soft">{escape(_facts(measured))}</p>
<ul class="why">{why}</ul>
<h2>Plots</h2><div class="plots">{drawn}</div>
<div class="two">{"".join(tables)}</div>
<div class="notes">{notes}</div></html>
"""


def _html(table: _Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td{_colour(cell)}>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in table.rows
    )
    return (
        f"<section><h2>{escape(table.title)}</h2><div class='wide'><table><tr>{head}</tr>{rows}"
        "</table></div></section>"
    )


def _colour(cell: str) -> str:
    kinds = {"kept": "good", "not kept": "bad", "not measured": "void"}
    return f" class='{kinds[cell]}'" if cell in kinds else ""


def markdown(verdict: Verdict, measured: Measured, books: Books) -> str:
    """The same without the plots."""
    parts = [f"# {verdict.scenario}: {verdict.word}\n\n{_facts(measured)}.\n"]
    if why := _why(verdict):
        parts.append("".join(f"- {sentence}\n" for sentence in why))
    for table in _tables(verdict, measured, books):
        if table.rows:
            lines = [table.head, ["---"] * len(table.head), *table.rows]
            body = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
            parts.append(f"## {table.title}\n\n{body}")
    parts += [f"{note}\n" for note in measured.notes]
    parts.append(f"Plots are in [{PAGE}]({PAGE}).\n")
    return "\n".join(parts)


def terminal(verdict: Verdict, measured: Measured, books: Books, out: Path) -> str:
    """What is printed at the end: a page at most."""
    lines = ["", _facts(measured), ""]
    for table in _tables(verdict, measured, books)[:3]:
        lines += [table.title, *_aligned([table.head, *table.rows]), ""]
    lines += [*_why(verdict), *measured.notes, ""]
    lines += [f"Report: {out / PAGE}", f"VERDICT  {verdict.headline}", ""]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
