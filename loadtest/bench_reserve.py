"""Reservations, side by side with the alternatives, in one run that starts all it needs.

    python -m loadtest.bench_reserve             everything; takes a while
    python -m loadtest.bench_reserve --quick     the chief ones in small, under a minute
    python -m loadtest.bench_reserve --only hot race

Valkeys and, if there is one, a Postgres are started on loopback and ended with the run. All ways
take turns, in another order each round; the figures are medians of the rounds, with the least and
the most, and ratios are taken round by round. After each run the store's own books are compared
with what shoppers were told: ours must add up, or the benchmark fails.

Written to ``--out``: ``results.json``, ``tables.md`` and a chart (SVG) for most sections. With
``--publish`` the tables in ``loadtest/README.md`` and the charts beside it are replaced.
"""

import argparse
import contextlib
import random
import sys
from pathlib import Path

import msgspec

from gateway.sandbox.warden import Warden
from loadtest import tables
from loadtest.figures import Section
from loadtest.report import Facts, Machine, line, publish, say
from loadtest.sections import QUICK, SECTIONS, Bench, timed
from loadtest.servers import Servers
from loadtest.ways.menu import WAYS

MOST_ROUNDS = 50
MOST_S = 30


def main() -> int:
    """Measure, say, write; 1 when something of ours did not add up."""
    options = _options()
    chosen = QUICK if options.quick else tuple(SECTIONS)
    options.out.mkdir(parents=True, exist_ok=True)
    here = Machine()
    with contextlib.ExitStack() as stack:
        warden = stack.enter_context(Warden())
        servers = Servers(warden.group, stack)
        if not servers.start_postgres():
            say(f"Postgres is left out: {servers.why_no_postgres}")
        bench = Bench(
            servers=servers,
            places=servers.places(),
            rounds=options.rounds or (1 if options.quick else 5),
            seconds=options.seconds or (0.5 if options.quick else 1.5),
            say=say,
            rng=random.Random(options.seed),  # noqa: S311 (nothing secret)
            quick=options.quick,
        )
        done = [_measured(bench, name) for name in options.only or chosen]
    machine = here.facts()
    _write(options.out, done, machine)
    if options.publish:
        _publish(done, machine)
    say(f"written to {options.out}")
    wrong = [
        f"{section.name}: {point.title} {point.x}"
        for section in done
        for point in section.points
        if not point.sound and not WAYS[point.way].oversells
    ]
    for one in wrong:
        say(f"does not add up: {one}")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench_reserve",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"one short round of: {' '.join(QUICK)}"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION",
                        help=f"some of: {' '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="of the hot sku (5); of the rest at most 3")
    parser.add_argument("--seconds", type=float, help="measured of each run (1.5)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the runs")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="a folder")
    parser.add_argument("--publish", action="store_true", help="into loadtest/README.md")
    options = parser.parse_args()
    if not 0 <= (options.rounds or 0) <= MOST_ROUNDS or not 0 <= (options.seconds or 0) <= MOST_S:
        parser.error(f"at most {MOST_ROUNDS} rounds of at most {MOST_S} seconds")
    return options


def _measured(bench: Bench, name: str) -> Section:
    with timed(bench.say, name):
        return SECTIONS[name](bench)


def _write(out: Path, done: list[Section], machine: Facts) -> None:
    facts = {"machine": machine, "sections": [_facts(section) for section in done]}
    (out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1))
    parts = [f"{section.name}\n\n{tables.markdown(section)}" for section in done]
    (out / "tables.md").write_text("\n".join(parts))
    for section in done:
        for file, drawing in tables.charts(section).items():
            (out / file).write_text(drawing)
        say(f"{section.name}\n{tables.markdown(section)}")


def _facts(section: Section) -> dict[str, object]:
    """A section for machines: every run, without the single latencies."""
    points = []
    for point in section.points:
        quantiles = {f"{name}_ms": point.latency_ms(at) for name, at in tables.QUANTILES.items()}
        runs = [msgspec.structs.replace(run, latencies_ms=[]) for run in point.runs]
        latency = quantiles if any(run.latencies_ms for run in point.runs) else {}
        points.append(
            {"way": point.way, "title": point.title, "x": point.x, "sound": point.sound}
            | {"oversold": point.oversold, "runs": runs, "verdicts": point.verdicts}
            | latency
        )
    return {"name": section.name, "points": points}


def _publish(done: list[Section], machine: Facts) -> None:
    """Put the tables and the charts into the README."""
    filled = {"machine": line(machine)} | {one.name: tables.markdown(one) for one in done}
    drawn = {file: one for section in done for file, one in tables.charts(section).items()}
    publish(filled, drawn)


if __name__ == "__main__":
    sys.exit(main())
