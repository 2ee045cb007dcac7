"""A flash sale on this machine, from nothing to a verdict, in one command.

    python -m loadtest.flash

It starts a deployment of its own (see ``deployment``), lets 3,000 shoppers loose on 500 units with
Locust, reads the books, and ends with the verdict: 0 good, 1 bad, 3 when the load itself was not.
With ``--plant`` one thing in it is broken on purpose; then it must end with 1, and say which.
"""

import argparse
import asyncio
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.demo.parts import STRIPE_RATE_PER_S, private
from gateway.demo.refusal import Breakdown
from gateway.process import allow_files
from gateway.sandbox.valkey import ValkeyMissingError
from loadtest.deployment import SHOW, Deployment, deployed
from loadtest.drop.options import ADMIN_KEY, POS_KEY
from loadtest.planted import FAULTS
from loadtest.report import say
from loadtest.spent import Cores, loaded_s

_LOCUSTFILE = Path(__file__).parent / "locustfile.py"
_FILES = 20_000
_END_S = 30.0
"""How long the load may take to end when it is asked to."""
_NOT_BEGUN = 2
_DEFAULT = "warm_up_and_drop"
_HANDED_ON = ("times", "shoppers", "units", "compress", "seed", "thresholds")


@dataclass(frozen=True, slots=True)
class Sale:
    """What is to be played."""

    scenario: str
    out: Path
    words: tuple[str, ...]
    """What Locust is told besides."""
    planted: str | None


def main(argv: Sequence[str]) -> int:
    """Run the sale; the exit code is the verdict's."""
    sale = read_sale(argv)
    allow_files(_FILES)
    try:
        return asyncio.run(_run(sale))
    except (Breakdown, ValkeyMissingError) as error:
        say(str(error))
        return _NOT_BEGUN
    except KeyboardInterrupt:
        return 130


def read_sale(argv: Sequence[str]) -> Sale:
    """What was asked for; what was not is as the scenario has it."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.flash",
        description="Play a flash sale against a deployment of two gateways on this machine.",
        epilog="What it writes: report.html, summary.md, verdict.json, measured.json, logs/.",
    )
    add = parser.add_argument
    add("--shoppers", type=int, help="how many come (the scenario's 3,000); not with --replay")
    add("--units", type=int, help="how many units there are (as many as the scenario has: 500)")
    add("--scenario", help=f"see python -m loadtest.drop ({_DEFAULT})")
    add("--replay", metavar="FILE", help="play recorded arrivals instead (see drop/record.py)")
    add("--times", type=int, help="with --replay: each arrival so many times over")
    add("--compress", type=float, metavar="TIMES", help="play all of it so many times as fast")
    add("--seed", type=int, help="of every shopper's whims (1)")
    add("--thresholds", metavar="FILE", help="a JSON list of bounds, in place of the scenario's")
    add("--plant", choices=FAULTS, help="break one thing on purpose, to see it found")
    add("--out", type=Path, default=Path("load-results"), help="folder of the report (%(default)s)")
    said: Any = parser.parse_args(argv)
    _check(parser, said)
    wanted: dict[str, object] = {
        "arrivals": said.replay,
        **{name: getattr(said, name) for name in _HANDED_ON},
    }
    given = ((f"--{name}", str(value)) for name, value in wanted.items() if value is not None)
    scenario = "replay" if said.replay else said.scenario or _DEFAULT
    return Sale(scenario, said.out, tuple(itertools.chain(*given)), said.plant)


def _check(parser: argparse.ArgumentParser, said: argparse.Namespace) -> None:
    """End with a sentence if something is asked for that would have no effect."""
    for name in ("shoppers", "scenario"):
        if said.replay and getattr(said, name) is not None:
            parser.error(f"--{name} is nothing to --replay, which plays what its file has")
    if not said.replay and said.times is not None:
        parser.error("--times is nothing without --replay")
    if said.scenario == "replay":
        parser.error("for a replay say --replay FILE")


async def _run(sale: Sale) -> int:
    say(f"starting two gateways, relay, sweep, till and Stripe ({STRIPE_RATE_PER_S} requests/s)")
    if sale.planted:
        say(f"planted on purpose: {sale.planted}")
    async with deployed(sale.out / "logs", sale.planted) as deployment:
        cores = Cores()
        code = await _load(sale, deployment)
        say(cores.told({"Locust": loaded_s(), **deployment.cpu_s()}))
        for sentence in deployment.broken():
            say(sentence)
            code = code or 1
    return code


async def _load(sale: Sale, deployment: Deployment) -> int:
    """Let Locust play, and judge; in a process of its own, for it patches all of Python."""
    keys = {ADMIN_KEY: deployment.admin_key, POS_KEY: deployment.pos_key}
    command = [
        *(sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless"),
        *("--host", ",".join(deployment.urls), "--show", SHOW, "--scenario", sale.scenario),
        *("--till-url", deployment.till_url, "--out", str(sale.out), *sale.words),
    ]
    locust = await asyncio.create_subprocess_exec(
        *command,
        env=private(os.environ, keys, sys.path),
        stdin=asyncio.subprocess.DEVNULL,
        process_group=deployment.family.group,
    )
    try:
        return await locust.wait()
    finally:
        if locust.returncode is None:
            locust.terminate()
            try:
                await asyncio.wait_for(locust.wait(), _END_S)
            except TimeoutError:
                locust.kill()
                await locust.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
