"""Telling thousands of viewers, side by side with the alternatives, in one run.

    python -m loadtest.bench_fanout             everything
    python -m loadtest.bench_fanout --quick     all of it in small, under a minute
    python -m loadtest.bench_fanout --only writes memory

A Valkey, the gateways, the other servers and the viewers are started on loopback and ended with the
run. Ways take turns, in another order each round; figures are medians of the rounds, with the least
and the most, and ratios are taken round by round. Frames written and frames read are compared: the
benchmark fails when they differ, when somebody is let in who should be refused, or when a viewer is
left with stock that is not true.

Sections: ``writes`` (CPU for a write, when everybody is told the same), ``held`` (how long the
event loop is held by that), ``memory`` (of an idle viewer), ``door`` (letting in and refusing),
``fresh`` (how old the stock is that viewers see during a sale).

Each viewer is a socket in this machine's memory and a file in two processes: 10,000 need a hard
limit of open files (``ulimit -Hn``) of more than that.

Written to ``--out``: ``results.json``, ``tables.md`` and charts (SVG). With ``--publish`` the
tables in ``loadtest/README.md`` and the charts beside it are replaced.
"""

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from loadtest.fanout import tables
from loadtest.fanout.freshness import fresh
from loadtest.fanout.sections import Bench, Section, door, held, memory, writes
from loadtest.fanout.stage import TooFewFiles, allow_files
from loadtest.report import Facts, Machine, line, publish, say
from loadtest.sections import timed

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "writes": writes,
    "held": held,
    "memory": memory,
    "door": door,
    "fresh": fresh,
}
MOST_ROUNDS = 50
MOST_VIEWERS = 25_000
"""Fewer than the ports of an address that connections can be made from."""
MOST_S = 120


def main() -> int:
    """Measure, say, write; 1 when something did not add up."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    machine = Machine()
    with contextlib.ExitStack() as stack:
        bench = _bench(options, stack)
        try:
            allow_files(max(bench.viewers, *bench.crowd))
        except TooFewFiles as few:
            say(f"{few}")
            return 2
        done, wrong = [], []
        for name in options.only or SECTIONS:
            try:
                with timed(say, name):
                    done.append(SECTIONS[name](bench))
            except RuntimeError as error:  # The others are worth having.
                say(f"{name} broke: {error}")
                wrong.append(f"{name}: {error}")
    facts = machine.facts()
    _write(options.out, done, facts)
    if options.publish:
        filled = {"fanout machine": line(facts)}
        filled |= {section.name: tables.markdown(section) for section in done}
        publish(filled, _charts(done))
    say(f"written to {options.out}")
    wrong += [f"{section.name}: {one}" for section in done for one in section.wrong]
    for one in wrong:
        say(f"does not add up: {one}")
    return 1 if wrong else 0


def _bench(options: argparse.Namespace, stack: contextlib.ExitStack) -> Bench:
    quick = options.quick
    warden = stack.enter_context(Warden())
    viewers = options.viewers or (500 if quick else 4_000)
    return Bench(
        group=warden.group,
        valkey=stack.enter_context(EmbeddedValkey(warden.group, port=0)),
        rounds=options.rounds or (1 if quick else 5),
        viewers=viewers,
        crowd=tuple(options.crowd or ((200, 1_000) if quick else (1_000, 5_000, 10_000))),
        attempts=200 if quick else 1_000,
        sale_s=options.seconds or (5 if quick else 20),
        rate=1_000,
        say=say,
        rng=random.Random(options.seed),  # noqa: S311 (nothing secret)
        folder=Path(stack.enter_context(tempfile.TemporaryDirectory())),
    )


def _options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench_fanout",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one round of everything, in small")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION",
                        help=f"some of: {' '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, help="of each section (5; memory and fresh at most 3)"
    )
    parser.add_argument("--viewers", type=int, help="told at once, in writes and held (4,000)")
    crowds = "of memory, rising; the last of fresh, too (1,000 5,000 10,000)"
    parser.add_argument("--crowd", type=int, nargs="+", metavar="VIEWERS", help=crowds)
    parser.add_argument("--seconds", type=float, help="of the sale in fresh (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the runs")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="a folder")
    parser.add_argument("--publish", action="store_true", help="into loadtest/README.md")
    options = parser.parse_args()
    crowd = options.crowd or [2]
    if not 0 <= (options.rounds or 0) <= MOST_ROUNDS or not 0 <= (options.seconds or 0) <= MOST_S:
        parser.error(f"at most {MOST_ROUNDS} rounds, and {MOST_S} seconds")
    if not 0 <= (options.viewers or 0) <= MOST_VIEWERS or not 2 <= crowd[-1] <= MOST_VIEWERS:
        parser.error(f"at most {MOST_VIEWERS:,} viewers")
    if sorted(set(crowd)) != crowd:
        parser.error("the crowd rises")
    return options


def _write(out: Path, done: list[Section], facts: Facts) -> None:
    report = {"machine": facts, "sections": done}
    (out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    parts = [f"{section.name}\n\n{tables.markdown(section)}" for section in done]
    (out / "tables.md").write_text("\n".join(parts))
    for file, drawing in _charts(done).items():
        (out / file).write_text(drawing)
    for part in parts:
        say(part)


def _charts(done: list[Section]) -> dict[str, str]:
    return {file: drawn for section in done for file, drawn in tables.charts(section).items()}


if __name__ == "__main__":
    sys.exit(main())
