"""What each command of ``holdfast`` does, and the arguments it takes."""

import argparse
import asyncio
import os
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from gateway import app, metrics, process, sweep
from gateway.checkout.payment import Payments
from gateway.clock import Clock, SystemClock, rfc3339
from gateway.keys import SHOPS
from gateway.lane import Lane, served
from gateway.model import ID_PATTERN
from gateway.pos import relay as pos_relay
from gateway.reconcile.reconciler import AUTHORIZATION_LIFE_MS, Mend, Reconciler, Reconciliation
from gateway.rooms import join
from gateway.sandbox import till as sandbox_till
from gateway.settings import Settings, SettingsError, read
from gateway.stock.audit import Verdict
from gateway.stock.audit import audit as audit_shop
from gateway.tickets import SCOPES, Tokens

_IMPORT_TIMEOUT_S = 60
_AUTHORIZATION_LIFE_H = AUTHORIZATION_LIFE_MS // 3_600_000
_MOST_HOURS = 9_600
"""400 days: no order is kept longer unless a shop wants it."""
_PROGRESS_S = 2.0


def serve(_: argparse.Namespace) -> int:
    """Run the gateway until it is told to stop."""
    process.log_to_stderr()
    app.serve(read(os.environ))
    return 0


def relay(options: argparse.Namespace) -> int:
    """Run the relay, or have it deliver again what it gave up."""
    process.log_to_stderr()
    settings = read(os.environ, needs=())
    if options.retry_parked:
        count = asyncio.run(pos_relay.retry_parked(settings))
        sys.stdout.write(f"{count} orders will be delivered once more\n")
    else:
        numbers = metrics.registry_of_process()
        metrics.serve(settings, numbers)
        process.run(pos_relay.run(settings, numbers))
    return 0


def sweeper(_: argparse.Namespace) -> int:
    """Run the sweep until it is told to stop."""
    process.log_to_stderr()
    settings = read(os.environ, needs=("stripe_api_key",))
    lane = Lane(settings)
    rooms = join(
        settings,
        SystemClock(),
        random.SystemRandom(),
        lane,
        Payments(settings, lane, SystemClock()),
    )
    reconciler = Reconciler(rooms.settler)
    metrics.serve(settings, metrics.registry_of_sweep(reconciler))
    process.run(sweep.serve(rooms, reconciler))
    return 0


def audit_arguments(parser: argparse.ArgumentParser) -> None:
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


def _hours(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_HOURS:
        raise argparse.ArgumentTypeError(f"a number of hours from 1 to {_MOST_HOURS}")
    return int(text)


def audit(options: argparse.Namespace) -> int:
    """Audit shops, or their payments; 1 when anything differs and was not mended."""
    if options.payments:
        return _audit_payments(options)
    settings = read(os.environ, needs=())
    verdicts = asyncio.run(_audit(settings, options.shop, repair=options.repair))
    for verdict in verdicts:
        if options.json:
            sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
        else:
            sys.stdout.write(_report(verdict))
    open_drift = [drift for verdict in verdicts for drift in verdict.drift if not drift.repaired]
    return 1 if open_drift else 0


async def _audit(settings: Settings, shop: str | None, *, repair: bool) -> list[Verdict]:
    async with served(settings) as lane:
        shops = [shop] if shop else [one.decode() for one in await lane.command("SMEMBERS", SHOPS)]
        return [await audit_shop(lane, one, repair=repair) for one in sorted(shops)]


def _audit_payments(options: argparse.Namespace) -> int:
    process.log_to_stderr()
    settings = read(os.environ, needs=("stripe_api_key",))
    since_ms = SystemClock().now_ms() - options.since * 3_600_000
    mend = Mend.ALL if options.repair else Mend.NOTHING
    found = asyncio.run(_reconcile(settings, options.shop, since_ms, mend))
    if options.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.write(_reconciled(found))
    return 1 if found.left else 0


async def _reconcile(
    settings: Settings, shop: str | None, since_ms: int, mend: Mend
) -> Reconciliation:
    async with served(settings) as lane:
        payments = Payments(settings, lane, SystemClock())
        try:
            clock = SystemClock()
            rooms = join(settings, clock, random.SystemRandom(), lane, payments)
            progress = _Progress(clock, clock.monotonic_s())
            return await Reconciler(rooms.settler).look(shop, since_ms, mend, progress)
        finally:
            await payments.aclose()


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


def _reconciled(found: Reconciliation) -> str:
    summary = (
        f"{found.orders} orders of {found.shops} shops, {found.intents} payments, "
        f"{found.events} events since {rfc3339(found.since_ms)}: "
        f"{found.repaired + found.left} differences, {found.repaired} repaired, {found.left} left"
    )
    lines = [summary, *(f"  {name}: {count}" for name, count in found.differences.items())]
    for one in found.findings:
        intent = f" {one.intent}" if one.intent else ""
        fate = "; repaired" if one.repaired else ""
        lines.append(f"  {one.shop} {one.order}{intent}: {one.difference}{fate}")
    return "\n".join(lines) + "\n"


def _report(verdict: Verdict) -> str:
    summary = (
        f"{verdict.shop}: {len(verdict.drift)} drift after {verdict.movements} movements, "
        f"{verdict.committed_units} units sold, {verdict.active_holds} holds active, "
        f"{verdict.shortfalls} shortfalls"
    )
    lines = [summary]
    for drift in verdict.drift:
        where = f"{drift.sku} at {drift.location}: " if drift.sku else ""
        fate = "; repaired" if drift.repaired else ""
        why = f" ({drift.why})" if drift.why else ""
        lines.append(
            f"  {where}{drift.quantity} is {drift.found}, must be {drift.expected}{why}{fate}"
        )
    return "\n".join(lines) + "\n"


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``import``."""
    parser.add_argument("file", type=Path, help="a product CSV as Shopify exports it")
    parser.add_argument("--url", help="the gateway; otherwise the one these settings serve")
    parser.add_argument("--key", help="an admin key; otherwise one is signed with HOLDFAST_SECRET")
    parser.add_argument("--currency", help="of its prices; otherwise the gateway's own")
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="import the good products all the same"
    )


def import_catalog(options: argparse.Namespace) -> int:
    """Send a CSV to a gateway; 1 when rows are bad."""
    settings = read(os.environ, needs=() if options.key else ("secret",))
    key = options.key or Tokens(settings, SystemClock()).sign_key(settings.shop, ("admin",))
    url = options.url or f"http://{settings.host}:{settings.port}"
    query = {"skip_bad_rows": "true"} if options.skip_bad_rows else {}
    if options.currency:
        query["currency"] = options.currency
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/v1/catalog/import",
            params=query,
            content=options.file.read_bytes(),
            headers={"authorization": f"Bearer {key}", "content-type": "text/csv"},
            timeout=_IMPORT_TIMEOUT_S,
        )
        body = answer.json()
    except (OSError, httpx.HTTPError, ValueError) as error:
        sys.stderr.write(f"holdfast: cannot import: {error}\n")
        return 1
    for row in body.get("errors", ()):
        sys.stderr.write(f"line {row['line']}: {row['message']} ({row['code']})\n")
    if answer.is_success:
        sys.stdout.write(f"{body['products']} products, {body['variants']} variants imported\n")
        return 1 if body["errors"] else 0
    sys.stderr.write(f"holdfast: nothing was imported: {body.get('detail', answer.status_code)}\n")
    return 1


def token_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``token``."""
    parser.add_argument("--shop", type=_id, help="otherwise HOLDFAST_SHOP")
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--scope", action="append", choices=SCOPES, help="a key; may be repeated")
    kinds.add_argument("--shopper", type=_id, help="a ticket for this shopper; needs --show")
    kinds.add_argument(
        "--shop-secret", action="store_true", help="what the shop signs its own tickets with"
    )
    parser.add_argument("--show", type=_id, help="the show a ticket is for")


def _id(text: str) -> str:
    if not re.match(ID_PATTERN, text):
        raise argparse.ArgumentTypeError("letters, digits, - and _ only, at most 64")
    return text


def token(options: argparse.Namespace) -> int:
    """Sign a key or a ticket, and print it."""
    settings = read(os.environ, needs=("secret",))
    tokens, shop = Tokens(settings, SystemClock()), options.shop or settings.shop
    if options.shop_secret:
        sys.stdout.write(tokens.shop_secret(shop) + "\n")
    elif options.scope:
        sys.stdout.write(tokens.sign_key(shop, tuple(options.scope)) + "\n")
    elif options.show:
        ticket, expires_ms = tokens.sign_ticket(shop, options.show, options.shopper)
        sys.stdout.write(ticket + "\n")
        sys.stderr.write(f"good until {rfc3339(expires_ms)}\n")
    else:
        raise SettingsError("A ticket is for a show: add --show.")
    return 0


till_arguments = sandbox_till.add_arguments


def till(options: argparse.Namespace) -> int:
    """Run the small point of sale."""
    return sandbox_till.run(options)
