"""Records the arrivals of a show from its ledger, so that they can be played again as a load.

    HOLDFAST_LOAD_POS_KEY=… python -m loadtest.drop.record --url URL --show SHOW --out FILE

It writes JSON lines, ``{"at_ms": 12, "lines": [{"sku": "a", "quantity": 1}], "shopper": "s1"}``:
who reserved what, and when, since the first. Shoppers are renamed in the order they come, and the
gateway has not told their true names in the first place: the file holds no personal data.

A ledger has what was held. Who was refused, for it was sold out, is not in it, and so not in the
file: play each arrival several times over (``--times``) to ask for more than there was.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from loadtest.drop.options import POS_KEY
from loadtest.drop.progress import Say, to_terminal
from loadtest.drop.shop_api import Api, NoAnswer, Refused, pages

_PAGE = 1_000
_TELL_S = 2.0
_NO_KEY, _NOTHING = 2, 1


@dataclass(slots=True)
class Arrivals:
    """Holds as they were made: their lines, each once."""

    show: str
    from_ms: float = 0.0
    until_ms: float = float("inf")
    unknown: int = 0
    """Holds whose show is not known any more."""
    _names: dict[str, str] = field(default_factory=dict)
    _holds: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, movement: Mapping[str, Any]) -> None:
        """Take in one movement of the ledger."""
        at_ms = datetime.fromisoformat(movement["at"]).timestamp() * 1000
        if movement["kind"] != "held" or not self.from_ms <= at_ms < self.until_ms:
            return
        if "show" not in movement:
            self.unknown += 1
        if movement.get("show") != self.show:
            return
        hold = self._holds.get(movement["reference"])
        if hold is None:
            hold = {"at_ms": at_ms, "lines": {}, "shopper": self._name(movement)}
            self._holds[movement["reference"]] = hold
        # Of one sku from several locations the shopper has asked for the sum.
        lines = hold["lines"]
        lines[movement["sku"]] = lines.get(movement["sku"], 0) + movement["quantity"]

    def _name(self, movement: Mapping[str, Any]) -> str:
        known = movement.get("shopper", movement["reference"])
        return self._names.setdefault(known, f"s{len(self._names) + 1}")

    def lines(self) -> Iterator[str]:
        """A line of JSON for each, by time."""
        holds = sorted(self._holds.values(), key=lambda hold: float(hold["at_ms"]))
        for hold in holds:
            lines = [{"sku": sku, "quantity": units} for sku, units in hold["lines"].items()]
            at_ms = round(hold["at_ms"] - holds[0]["at_ms"])
            yield json.dumps({"at_ms": at_ms, "lines": lines, "shopper": hold["shopper"]})


def movements(api: Api, say: Say) -> Iterator[Mapping[str, Any]]:
    """The whole ledger of the key's shop, with progress.

    Raises:
        NoAnswer, Refused: the gateway does not answer, or not with a ledger.
    """
    read, told_s = 0, time.monotonic()
    for page in pages(partial(api.expect, "GET"), "/v1/stock/movements", _PAGE):
        yield from page["movements"]
        read += len(page["movements"])
        if time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            say(f"{read:,} movements read")


def main(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Record; the exit code."""
    said: Any = _parser().parse_args(argv)
    key = environment.get(POS_KEY, "")
    if not key:
        to_terminal(f"{POS_KEY} must hold a key of the shop with the scope pos.")
        return _NO_KEY
    try:
        arrivals = Arrivals(said.show, said.since, said.until)
        for movement in movements(Api(said.url.rstrip("/"), key), to_terminal):
            arrivals.add(movement)
    except (NoAnswer, Refused) as error:
        to_terminal(str(error))
        return _NOTHING
    return _write(list(arrivals.lines()), arrivals, said.out)


def _write(lines: Iterable[str], arrivals: Arrivals, out: Path | None) -> int:
    written = [f"{line}\n" for line in lines]
    if arrivals.unknown:
        to_terminal(
            f"{arrivals.unknown:,} movements are of holds that are forgotten, so not of any show."
        )
    if not written:
        to_terminal(f"Nothing was held in the show {arrivals.show}.")
        return _NOTHING
    if out:
        out.write_text("".join(written))
    else:
        sys.stdout.writelines(written)
    to_terminal(
        f"{len(written):,} arrivals. Who was refused is in no ledger and not among them; to ask "
        "for more than there was, replay with --times 3, say."
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.drop.record",
        description="Record the arrivals of a show, to play them again.",
        epilog=f"The key comes from {POS_KEY}.",
    )
    add = parser.add_argument
    add("--url", required=True, help="of a gateway")
    add("--show", required=True, help="whose arrivals are recorded")
    add("--out", type=Path, help="the file to write; otherwise standard output")
    add("--since", type=_moment_ms, default=0.0, help="only from this time on, in RFC 3339")
    add("--until", type=_moment_ms, default=float("inf"), help="only before this time")
    return parser


def _moment_ms(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError("a time with a zone, as in 2026-11-21T20:00:00Z")
    return moment.timestamp() * 1000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
