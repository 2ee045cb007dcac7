"""Reservations, side by side with the alternatives, in one run that starts all it needs.

    python -m loadtest.bench_reserve             everything; about 12 minutes on two quiet cores
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
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from gateway.sandbox.warden import Warden
from loadtest import tables
from loadtest.figures import Section
from loadtest.sections import QUICK, SECTIONS, Bench, timed
from loadtest.servers import Servers
from loadtest.ways.menu import WAYS

HERE = Path(__file__).parent
MOST_ROUNDS = 50
MOST_S = 30
FSYNCS = 50
PAGE = 8_192
STEAL = 7
"""Of the first line of ``/proc/stat``, the time a hypervisor gave to others."""


def main() -> int:
    """Measure, say, write; 1 when something of ours did not add up."""
    options = _options()
    chosen = QUICK if options.quick else tuple(SECTIONS)
    options.out.mkdir(parents=True, exist_ok=True)
    started, before = time.monotonic(), _ticks()
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
    machine = _machine(before) | {"minutes": round((time.monotonic() - started) / 60, 1)}
    _write(options.out, done, machine)
    if options.publish:
        _publish(options.out, done, machine)
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


def say(line: str) -> None:
    """Tell whoever watches."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


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


def _machine(before: list[int]) -> dict[str, str | int | float]:
    """What it ran on, and how much of it others had meanwhile."""
    spent = [now - then for now, then in zip(_ticks(), before, strict=True)]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "fsync": f"{_fsync_ms():.2f} ms",
        "taken by other machines": f"{spent[STEAL] / sum(spent):.0%}" if sum(spent) else "unknown",
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _ticks() -> list[int]:
    """What the cores have done so far, as Linux counts it."""
    try:
        return [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        return [0] * (STEAL + 1)


def _fsync_ms() -> float:
    """How long the disk takes for one page, the median; a row lock is held for as long."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(FSYNCS):
            file.write(b"x" * PAGE)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def _write(out: Path, done: list[Section], machine: dict[str, str | int | float]) -> None:
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


def _publish(out: Path, done: list[Section], machine: dict[str, str | int | float]) -> None:
    """Put the tables between their marks in the README, and the charts beside it."""
    page = HERE / "README.md"
    text = page.read_text()
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    filled = {"machine": f"{facts}.\n"} | {one.name: tables.markdown(one) for one in done}
    for name, table in filled.items():
        mark, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, after = text.partition(mark)
        if found:
            text = before + mark + table + end + after.partition(end)[2]
    page.write_text(text)
    (HERE / "figures").mkdir(exist_ok=True)
    for section in done:
        for file in tables.charts(section):
            (HERE / "figures" / file).write_text((out / file).read_text())


if __name__ == "__main__":
    sys.exit(main())
