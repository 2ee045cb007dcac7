"""``holdfast audit``: the stock with its ledger, or the payments with Stripe.

Beside Redis it asks Redis and Stripe itself; with ``--url`` it has a gateway do so, from anywhere.
"""

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway import logs
from gateway.checkout.provider import Broken, Silent
from gateway.clock import Clock, SystemClock
from gateway.commands import audit_from_outside
from gateway.commands.audit_report import in_words, reconciled
from gateway.environment import read
from gateway.errors import Unavailable
from gateway.lane import served
from gateway.reconcile.findings import Mend, Reconciliation
from gateway.reconcile.reconciler import AUTHORIZATION_LIFE_MS, Reconciler
from gateway.rooms import opened
from gateway.settings import Settings
from gateway.shows.shows import shops
from gateway.stock.audit import Verdict
from gateway.stock.audit import audit as audit_shop

_AUTHORIZATION_LIFE_H = AUTHORIZATION_LIFE_MS // 3_600_000
_MOST_HOURS = 9_600
"""400 days: no order is kept longer unless a shop wants it."""
_PROGRESS_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``audit``."""
    parser.add_argument("--shop", help="only this shop; otherwise every shop this Redis knows")
    parser.add_argument("--repair", action="store_true", help="mend what is certain, and say what")
    parser.add_argument("--json", action="store_true", help="print one JSON object a shop")
    parser.add_argument(
        "--payments",
        action="store_true",
        help="compare Redis, Stripe and the order stream instead of the stock with its ledger; "
        "--repair also gives back money of orders nobody knows, if they are few",
    )
    parser.add_argument(
        "--since",
        type=_hours,
        default=_AUTHORIZATION_LIFE_H,
        metavar="HOURS",
        help="with --payments: how far to look back (%(default)s)",
    )
    parser.add_argument(
        "--url",
        help="have the gateway there audit the shop of an admin key, which is in HOLDFAST_KEY or "
        "in --key-file; needs no other setting",
    )
    parser.add_argument("--key-file", type=Path, help="with --url: a file that holds the key")


def _hours(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_HOURS:
        raise argparse.ArgumentTypeError(f"a number of hours from 1 to {_MOST_HOURS}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Audit shops, or their payments; 1 when anything differs and was not mended."""
    if options.url and (options.repair or options.shop):
        sys.stderr.write(
            "holdfast: from outside nothing is repaired, and the key names the shop.\n"
        )
        return 2
    if options.url:
        return audit_from_outside.run(options)
    if options.payments:
        return _audit_payments(options)
    settings = read(os.environ, needs=())
    verdicts = asyncio.run(_audit(settings, options.shop, repair=options.repair))
    for verdict in verdicts:
        if options.json:
            sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
        else:
            sys.stdout.write(in_words(verdict))
    open_drift = [drift for verdict in verdicts for drift in verdict.drift if not drift.repaired]
    return 1 if open_drift else 0


async def _audit(settings: Settings, shop: str | None, *, repair: bool) -> list[Verdict]:
    async with served(settings) as lane:
        asked = [shop] if shop else await shops(lane)
        return [await audit_shop(lane, one, repair=repair) for one in asked]


def _audit_payments(options: argparse.Namespace) -> int:
    settings = read(os.environ, needs=("stripe_api_key",))
    logs.start(settings)
    since_ms = SystemClock().now_ms() - options.since * 3_600_000
    mend = Mend.ALL if options.repair else Mend.NOTHING
    try:
        found = asyncio.run(_reconcile(settings, options.shop, since_ms, mend))
    except (Broken, Silent):
        # What they say themselves is for shoppers, for whom somebody keeps trying.
        raise Unavailable("Stripe does not answer, so that nothing was compared.") from None
    if options.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.write(reconciled(found))
    return 1 if found.left or found.silent else 0


async def _reconcile(
    settings: Settings, shop: str | None, since_ms: int, mend: Mend
) -> Reconciliation:
    async with opened(settings) as rooms:
        progress = _Progress(rooms.clock, rooms.clock.monotonic_s())
        return await Reconciler(rooms.settler).look(shop, since_ms, mend, progress)


@dataclass(slots=True)
class _Progress:
    """Says every few seconds how far a long look is."""

    clock: Clock
    told_at_s: float

    def __call__(self, payments: int, differences: int) -> None:
        now_s = self.clock.monotonic_s()
        if now_s - self.told_at_s >= _PROGRESS_S:
            self.told_at_s = now_s
            sys.stderr.write(f"{payments} payments, {differences} differences so far\n")
