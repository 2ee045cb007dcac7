"""``holdfast token``: signs keys and tickets."""

import argparse
import os
import re
import sys

from gateway.clock import SystemClock, rfc3339
from gateway.environment import read
from gateway.model import ID_PATTERN
from gateway.settings import SettingsError
from gateway.tickets import SCOPES, Tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(options: argparse.Namespace) -> int:
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
