"""``holdfast rebuild``: writes sales again that a server has lost, by hand."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator

import msgspec

from gateway import logs
from gateway.checkout.provider import Broken, Silent
from gateway.clock import rfc3339
from gateway.environment import read
from gateway.errors import NotFound, Unavailable
from gateway.recovery.rebuild import HISTORY_MS, Rebuilt
from gateway.rooms import Rooms, opened
from gateway.settings import Settings

_DAY_MS = 86_400_000
_MOST_DAYS = 400
_MISSING_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``rebuild``."""
    parser.add_argument("--shop", help="only this shop; otherwise every shop anybody knows of")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what is missing; change and stop nothing"
    )
    parser.add_argument(
        "--since",
        type=_days,
        default=HISTORY_MS // _DAY_MS,
        metavar="DAYS",
        help="how far back to look at Stripe (%(default)s); the claims table is read whole",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a shop")


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"a number of days from 1 to {_MOST_DAYS}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Rebuild shops; 1 when a dry run found that something is missing."""
    settings = read(os.environ, needs=("stripe_api_key",))
    logs.start(settings)
    try:
        return asyncio.run(_rebuild(settings, options))
    except (Broken, Silent):
        # What they say themselves is for shoppers, for whom somebody keeps trying.
        raise Unavailable(
            "Stripe does not answer, so that nobody can say what was sold; a shop that is served "
            "goes on, and one that is frozen stays so until it does."
        ) from None


async def _rebuild(settings: Settings, options: argparse.Namespace) -> int:
    missing = 0
    async with opened(settings) as rooms:
        since_ms = rooms.clock.now_ms() - options.since * _DAY_MS
        async for found in _each(rooms, options.shop, since_ms, dry=options.dry_run):
            missing += len(found.missing)
            said = msgspec.json.encode(found).decode() if options.json else _report(found)
            sys.stdout.write(said + "\n")
            sys.stdout.flush()
    return 1 if options.dry_run and missing else 0


async def _each(
    rooms: Rooms, shop: str | None, since_ms: int, *, dry: bool
) -> AsyncIterator[Rebuilt]:
    recovery = rooms.recovery
    shops = [shop] if shop else await recovery.rebuilder.shops(since_ms)
    if not shops:
        raise NotFound("Nobody knows of any shop: neither Redis, nor Stripe, nor the claims table.")
    for one in shops:
        if dry:
            yield await recovery.rebuilder.would(one, since_ms)
        else:
            yield await recovery.by_hand(one, since_ms)


def _report(found: Rebuilt) -> str:
    end = f"served again in epoch {found.epoch}" if found.epoch else "nothing was changed"
    summary = (
        f"{found.shop}: of {found.known} sales since {rfc3339(found.since_ms)} "
        f"{len(found.missing)} were missing; {end}"
    )
    lines = [summary, *(f"  {order}" for order in found.missing[:_MISSING_SHOWN])]
    more = len(found.missing) - _MISSING_SHOWN
    return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)
