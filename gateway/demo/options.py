"""What ``holdfast demo`` can be asked for."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import msgspec

from gateway.sandbox.stripe.faults import NO_FAULTS, FaultPlan

DEFAULT_PORT = 8080
MOST_SHOPPERS = 5_000
"""More shoppers than one process of them can play."""
LONGEST_S = 7 * 86_400
FAULTS_EXAMPLE = (
    '{"lose_reply_percent": 5, "webhooks": {"shuffle": true, "duplicate_percent": 100}}'
)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How the demo runs. ``for_s`` is in seconds; without it the demo runs until it is stopped."""

    port: int = DEFAULT_PORT
    crowd: int = 0
    for_s: float | None = None
    catalog: Path | None = None
    data_dir: Path | None = None
    faults: FaultPlan = NO_FAULTS
    json: bool = False

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Take the options out of what ``add_arguments`` had parsed."""
        return cls(**{field.name: getattr(arguments, field.name) for field in fields(cls)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's arguments to a parser."""
    parser.description = (
        "Start everything a shop needs on this machine: an embedded Valkey, a Stripe sandbox, the "
        "gateway, the relay, the sweep and a demo till. Load a catalogue, start a show, say where "
        "to look, and show live what happens. Ctrl-C stops it all; a second one at once."
    )
    parser.epilog = (
        "Nothing needs to be configured: settings in the environment are ignored. With --for, the "
        "exit code is 0 only if the audit finds no drift and the orders, the till, the units sold "
        "and the captured payments agree."
    )
    add = parser.add_argument
    add(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="where the page and the gateway are (default: %(default)s); 0 takes a free port",
    )
    add(
        "--crowd",
        type=_shoppers,
        default=0,
        metavar="N",
        help="send N shoppers through the real socket; they look, hold, pay, fail, give up",
    )
    add(
        "--for",
        dest="for_s",
        type=_seconds,
        metavar="SECONDS",
        help="end after so long, with a summary and an audit",
    )
    add(
        "--catalog",
        type=Path,
        metavar="FILE",
        help="sell this instead of the demo catalogue: a product CSV as Shopify exports it",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keep stock, orders, payments, secrets and logs here; otherwise nothing is kept",
    )
    add(
        "--faults",
        type=_faults,
        default=NO_FAULTS,
        metavar="JSON",
        help="what goes wrong at the Stripe sandbox, e.g. "
        + f"'{FAULTS_EXAMPLE}'".replace("%", "%%")
        + "; all of it is in gateway/sandbox/stripe/faults.py, and can be switched while it runs",
    )
    add(
        "--json",
        action="store_true",
        help="on standard output, one JSON line with the addresses, keys and stock, and at the "
        "end one with the summary; all else goes to standard error",
    )


def _port(text: str) -> int:
    return _within(int(text), 0, 65_535)


def _shoppers(text: str) -> int:
    return _within(int(text), 0, MOST_SHOPPERS)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {LONGEST_S}")
    return seconds


def _faults(text: str) -> FaultPlan:
    try:
        return msgspec.json.decode(text, type=FaultPlan)
    except (msgspec.DecodeError, UnicodeError) as error:
        message = f"not a plan of faults ({error}); an example is '{FAULTS_EXAMPLE}'"
        raise argparse.ArgumentTypeError(message) from None


def _within(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
    return number
