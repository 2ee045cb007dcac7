"""``holdfast drain``: sends the sockets of the gateway beside it elsewhere, and waits until they
are gone. What a pod runs before it is told to stop.
"""

import argparse
import os
import sys
import time

import httpx

from gateway.clock import SystemClock
from gateway.environment import read
from gateway.settings import Settings
from gateway.tickets import Tokens

_EVERY_S = 0.5
_MARGIN_S = 2.0
"""What the last goodbyes and a busy loop may take beyond the window."""
_PATIENCE_S = 5.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
_SOCKETS = "holdfast_sockets "


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Drain the gateway of these settings on this machine; 1 when sockets are left, or may be."""
    settings = read(os.environ, needs=("secret",))
    try:
        with httpx.Client(
            base_url=_address(settings), trust_env=False, timeout=_PATIENCE_S
        ) as client:
            return _drain(client, settings)
    except httpx.HTTPError as error:
        sys.stderr.write(f"holdfast: the gateway at {_address(settings)}: {error}\n")
        return 1


def _address(settings: Settings) -> str:
    """Where this machine's gateway answers operators."""
    host = _ANYWHERE.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.metrics_port or settings.port}"


def _drain(client: httpx.Client, settings: Settings) -> int:
    key = Tokens(settings, SystemClock()).sign_key(settings.shop, ("admin",))
    begun = client.post("/drainz", headers={"authorization": f"Bearer {key}"})
    begun.raise_for_status()
    answer = begun.json()
    _say(f"{answer['sockets']} sockets are sent elsewhere within {answer['within_ms'] / 1000:g} s")
    ends_s = time.monotonic() + answer["within_ms"] / 1000 + _MARGIN_S
    how = ""
    while time.monotonic() < ends_s:
        left, said = _sockets(client), how
        if left == 0:
            _say("no socket is left")
            return 0
        how = f"{left} left" if left else "how many are left the gateway does not tell"
        if how != said:
            _say(how)
        time.sleep(_EVERY_S)
    _say(f"the time is over; {how}")
    return 1


def _sockets(client: httpx.Client) -> int | None:
    """Sockets that are open, of which a gateway that has ended has none; ``None`` if it does not
    tell: it may be busy, and is asked again.
    """
    try:
        told = client.get("/metrics").raise_for_status().text
    except httpx.ConnectError:
        return 0
    except httpx.HTTPError:
        return None
    for line in told.splitlines():
        if line.startswith(_SOCKETS):
            return round(float(line.removeprefix(_SOCKETS)))
    return None


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()
