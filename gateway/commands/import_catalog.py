"""``holdfast import``: sends a catalogue to a gateway."""

import argparse
import os
import sys
from pathlib import Path

import httpx

from gateway.clock import SystemClock
from gateway.environment import program_key, read
from gateway.tickets import Tokens

_IMPORT_TIMEOUT_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``import``."""
    parser.add_argument("file", type=Path, help="a product CSV as Shopify exports it")
    parser.add_argument("--url", help="the gateway; otherwise the one these settings serve")
    parser.add_argument(
        "--key-file",
        type=Path,
        help="a file that holds an admin key; otherwise it is in HOLDFAST_KEY, or one is signed "
        "with HOLDFAST_SECRET",
    )
    parser.add_argument("--currency", help="of its prices; otherwise the gateway's own")
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="import the good products all the same"
    )


def run(options: argparse.Namespace) -> int:
    """Send a CSV to a gateway; 1 when rows are bad."""
    given = program_key(os.environ, options.key_file)
    settings = read(os.environ, needs=() if given else ("secret",))
    key = given or Tokens(settings, SystemClock()).sign_key(settings.shop, ("admin",))
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
            trust_env=False,
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
