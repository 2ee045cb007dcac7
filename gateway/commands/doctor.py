"""``holdfast doctor``: checks a deployment from outside, and names what mends it."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from gateway.clock import SystemClock
from gateway.doctor.finding import Outcome, Patient
from gateway.doctor.live import live
from gateway.doctor.money import money
from gateway.doctor.reach import reach
from gateway.doctor.store import redis, stock
from gateway.environment import KEY, program_key, read
from gateway.settings import Settings

_IDLE_S = 5.0
_MOST_IDLE_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``doctor``."""
    parser.add_argument(
        "--url",
        required=True,
        type=_url,
        help="where browsers find it, as https://shop.example.com",
    )
    parser.add_argument(
        "--show", default=Settings().show, help="the show whose socket is tried (%(default)s)"
    )
    parser.add_argument(
        "--idle",
        default=_IDLE_S,
        type=_seconds,
        metavar="SECONDS",
        help="how long the socket is left silent (%(default)s); 60 and more finds idle timeouts",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = (
        f"With REDIS_URL or STRIPE_API_KEY in the environment it looks at those, too; with {KEY}, "
        "an admin key, it has the stock audited. It changes nothing."
    )


def run(options: argparse.Namespace) -> int:
    """Check a deployment; 1 when a check failed."""
    outcomes = asyncio.run(examine(patient(options, os.environ)))
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if options.json:
        told = {"url": options.url, "failed": failed, "checks": outcomes}
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    else:
        for outcome in outcomes:
            sys.stdout.write(_line(outcome))
    return 1 if failed else 0


def patient(options: argparse.Namespace, environment: Mapping[str, str]) -> Patient:
    """Whom to look at, and with what.

    Raises:
        SettingsError: a variable is wrong.
    """
    settings = read(environment, needs=())
    given = {name.removesuffix("_FILE") for name, text in environment.items() if text}
    return Patient(
        url=options.url,
        show=options.show,
        idle_s=options.idle,
        key=program_key(environment),
        given=frozenset(given),
        settings=settings,
        now_ms=SystemClock().now_ms,
    )


async def examine(patient: Patient) -> list[Outcome]:
    """Make every check; where nobody answers at all, the rest would only say so again."""
    outcomes = await reach(patient)
    if outcomes[0].state == "failed":
        return outcomes
    rest: tuple[Callable[[Patient], Awaitable[list[Outcome]]], ...] = (live, money, redis, stock)
    for found in await asyncio.gather(*(check(patient) for check in rest)):
        outcomes += found
    return outcomes


def _line(outcome: Outcome) -> str:
    line = f"{outcome.state:8} {outcome.check:16} {outcome.message}\n"
    return line + (f"{'':25} → {outcome.fix}\n" if outcome.fix else "")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise argparse.ArgumentTypeError("an address such as https://shop.example.com")
    return text.rstrip("/")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MOST_IDLE_S:
        raise argparse.ArgumentTypeError(f"seconds from 0 to {_MOST_IDLE_S:g}")
    return seconds
