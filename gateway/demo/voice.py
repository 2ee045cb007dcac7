"""What the demo says, and where: people read one stream, programs the other."""

import sys
from typing import TextIO

import msgspec

from gateway.demo.options import DemoOptions
from gateway.demo.parts import SHOW, Site

_EXAMPLE = '{"lose_reply_percent": 20}'


class Voice:
    """Sentences for people; with ``--json`` those go to standard error, and objects to output."""

    def __init__(self, options: DemoOptions) -> None:
        self._json = options.json

    @property
    def stream(self) -> TextIO:
        """Where people read."""
        return sys.stderr if self._json else sys.stdout

    def say(self, text: str) -> None:
        """Say something to people."""
        self.stream.write(text + "\n")
        self.stream.flush()

    def emit(self, value: object) -> None:
        """Say something to a program, as one JSON line; nothing without ``--json``."""
        if self._json:
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
            sys.stdout.flush()


def addresses(site: Site, for_s: float | None) -> str:
    """Where to look, and how to stop."""
    how_long = f"It ends by itself after {for_s:g} s." if for_s else "It runs until Ctrl-C."
    return (
        f"\nHoldfast is live: show {SHOW!r}. {how_long}\n\n"
        f"  the page           {site.url}/\n"
        f"  the till           {site.till_url}/\n"
        f"  Stripe's sandbox   curl -u sk_test_any: {site.stripe_url}/v1/sandbox/summary\n"
        f"  its faults         curl -u sk_test_any: {site.faults_url} -d '{_EXAMPLE}'\n"
        f"  logs               {site.home.logs}\n"
    )
