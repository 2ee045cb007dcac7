"""``holdfast privacy``: shows all that is stored about one shopper, or erases it."""

import argparse
import asyncio
import contextlib
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway import logs
from gateway.claims.address import open_claims
from gateway.clock import Clock, SystemClock
from gateway.environment import read
from gateway.lane import served
from gateway.model import ID_PATTERN
from gateway.privacy.erase import Erasure, NotYet
from gateway.privacy.export import at_stripe, export
from gateway.privacy.found import Found
from gateway.privacy.walk import Walk
from gateway.settings import Settings, SettingsError

_PROGRESS_S = 2.0
_ONLY_OURS = 0o600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``privacy export`` and ``privacy erase``."""
    kinds = parser.add_subparsers(required=True, dest="what", metavar="export | erase")
    shown = kinds.add_parser("export", help="write down all that is stored about a shopper")
    whose = shown.add_mutually_exclusive_group(required=True)
    whose.add_argument("--shopper", type=_id, help="the shopper's id")
    whose.add_argument("--order", type=_id, help="an order of the shopper's")
    whose.add_argument("--email", help="an address given with an order; all orders are read")
    told = shown.add_mutually_exclusive_group()
    told.add_argument("--json", action="store_true", help="print the document")
    told.add_argument(
        "--out", type=Path, metavar="FILE", help="write it to a file only you can read"
    )
    erased = kinds.add_parser("erase", help="take a shopper out of everything but the books")
    erased.add_argument("--shopper", type=_id, required=True, help="the shopper's id")
    erased.add_argument("--yes", metavar="ID", help="the id once more; without it nothing is done")
    erased.add_argument("--dry-run", action="store_true", help="only say what would be done")
    erased.add_argument("--release", action="store_true", help="give active holds back first")
    for one in (shown, erased):
        one.add_argument("--shop", type=_id, help="otherwise HOLDFAST_SHOP")


def _id(text: str) -> str:
    if not re.match(ID_PATTERN, text):
        raise argparse.ArgumentTypeError("letters, digits, - and _ only, at most 64")
    return text


def run(options: argparse.Namespace) -> int:
    """Show or erase a shopper; 1 when nothing is stored, or it may not be erased now."""
    settings = read(os.environ, needs=())
    logs.start(settings)
    return asyncio.run(
        _export(settings, options) if options.what == "export" else _erase(settings, options)
    )


@contextlib.asynccontextmanager
async def _walking(settings: Settings, options: argparse.Namespace) -> AsyncIterator[Walk]:
    clock, claims = SystemClock(), open_claims(settings)
    async with served(settings) as lane:
        progress = _Progress(clock, clock.monotonic_s())
        try:
            yield Walk(lane, options.shop or settings.shop, claims, progress)
        finally:
            if claims:
                await claims.aclose()


@dataclass(slots=True)
class _Progress:
    """Says every few seconds how far a long walk is."""

    clock: Clock
    told_at_s: float

    def __call__(self, looked_at: int) -> None:
        now_s = self.clock.monotonic_s()
        if now_s - self.told_at_s >= _PROGRESS_S:
            self.told_at_s = now_s
            sys.stderr.write(f"{looked_at} keys and entries looked at so far\n")


async def _export(settings: Settings, options: argparse.Namespace) -> int:
    async with _walking(settings, options) as walk:
        if options.order:
            shopper = await walk.shopper_of(options.order)
        elif options.email:
            shopper = await walk.shopper_at(options.email)
        else:
            shopper = options.shopper
        found = await walk.find(shopper)
    document = msgspec.json.format(msgspec.json.encode(export(found, SystemClock().now_ms())))
    if options.json:
        sys.stdout.write(document.decode() + "\n")
    else:
        sys.stdout.write(_summary(found))
    if options.out:
        _write(options.out, document + b"\n")
    return 1 if found.nothing else 0


def _write(path: Path, document: bytes) -> None:
    """Write a file that nobody else may read, not even for a moment.

    Raises:
        SettingsError: it is there already, or cannot be made.
    """
    try:
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _ONLY_OURS), "wb"
        ) as out:
            out.write(document)
    except OSError as error:
        raise SettingsError(f"--out: cannot write {path}: {error.strerror}.") from None


async def _erase(settings: Settings, options: argparse.Namespace) -> int:
    shopper = options.shopper
    if options.yes not in (None, shopper):
        raise SettingsError(f"--yes says {options.yes}, and --shopper {shopper}: nothing is done.")
    async with _walking(settings, options) as walk:
        erasure = Erasure(walk, settings, SystemClock(), random.SystemRandom())
        try:
            if options.yes and not options.dry_run:
                found = await erasure.erase(shopper, release=options.release)
            else:
                found = await erasure.look(shopper, release=options.release)
        except NotYet as reason:
            sys.stderr.write(f"holdfast: not erased: {reason}\n")
            return 1
    sys.stdout.write(_summary(found))
    if options.dry_run:
        sys.stdout.write("All of that would be erased.\n")
        return 0
    if not options.yes:
        raise SettingsError(f"To erase all of that, say so: --yes {shopper}")
    if not found.nothing:
        sys.stdout.write(_closing(found))
    return 0


def _summary(found: Found) -> str:
    """What there is, in one line, and never any of it."""
    if found.nothing:
        return f"{found.shop}: nothing is stored about {found.shopper}\n"
    counts = {
        "orders": len(found.orders),
        "holds": len(found.holds),
        "questions": len(found.questions),
        "places in lines": len(found.places),
        "events for the POS": len(found.entries),
        "parked deliveries": len(found.deliveries),
        "claims": len(found.claims),
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{found.shop}: {found.shopper} has {told}\n"


def _closing(found: Found) -> str:
    """What is left for a person to do."""
    there = at_stripe(found)
    payments = ", ".join(there.payment_intents) or "no payment of these orders"
    return (
        "Erased. The ledger, the money and the order ids are as they were. What is left:\n"
        f"  Stripe still has {payments}; all are found there by the search\n"
        f"  {there.search}.\n"
        "  Redact them once they can be neither refunded nor disputed (.github/PRIVACY.md).\n"
        "  The POS hears of each sold order once more, without contact, and erases its own copy.\n"
        "  The append-only file has it until BGREWRITEAOF, backups as long as you keep them.\n"
    )
