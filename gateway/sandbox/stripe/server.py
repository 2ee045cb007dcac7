"""The sandbox on a socket: in this process, or as a program of its own."""

import argparse
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from gateway.sandbox import serving as sandbox_serving
from gateway.sandbox.stripe.app import Settings, build
from gateway.sandbox.stripe.faults import FaultPlan
from gateway.sandbox.stripe.webhooks import Target


def serving(
    settings: Settings,
    *,
    host: str = sandbox_serving.HOST,
    port: int = 0,
    clock: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> AbstractAsyncContextManager[str]:
    """A running sandbox's URL; ``port`` 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    app = build(settings, clock, rng or random.SystemRandom())
    return sandbox_serving.serving(app, host=host, port=port)


def main(argv: Sequence[str]) -> int:
    """The command line; answers the exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    if bool(given.webhook_url) != bool(given.webhook_secret):
        parser.error("--webhook-url and --webhook-secret belong together")
    try:
        plan = msgspec.json.decode(given.faults, type=FaultPlan)
    except msgspec.DecodeError as error:
        parser.error(f"--faults: {error}")
    webhook = None
    if given.webhook_url:
        kinds = tuple(given.webhook_events.split(","))
        webhook = Target(given.webhook_url, given.webhook_secret, kinds)
    settings = Settings(
        data=given.data,
        per_endpoint=given.rate_limit,
        per_account=given.rate_limit * 4 if given.account_limit is None else given.account_limit,
        webhook=webhook,
        faults=plan,
    )
    try:
        app = build(settings, time.time, random.SystemRandom())
    except sqlite3.Error as error:
        sys.stderr.write(f"cannot use {given.data}: {error}\n")
        return 1
    return sandbox_serving.run(app, given.host, given.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.sandbox.stripe",
        description="A Stripe for one machine. Point the SDK's base_addresses at the printed URL; "
        "any sk_test_ key will do. No money moves and nothing leaves this machine.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    add("--data", default=":memory:", metavar="FILE", help="SQLite file that keeps the money")
    add("--rate-limit", type=float, default=25, help="requests a second per endpoint; 0 lifts it")
    add(
        "--account-limit",
        type=float,
        help="requests a second in all; 0 lifts it; four times --rate-limit if not given",
    )
    add("--webhook-url", metavar="URL", help="where events are posted")
    add("--webhook-secret", metavar="SECRET", help="what they are signed with (whsec_…)")
    add(
        "--webhook-events",
        default="*",
        metavar="KINDS",
        help="e.g. payment_intent.*,charge.refunded",
    )
    add("--faults", default="{}", metavar="JSON", help='e.g. {"latency_ms": 200}; see faults.py')
    return parser
