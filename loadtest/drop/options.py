"""What a load test can be told, besides what Locust can. Pure, but for the files it names.

Keys are never options, for a command line is seen by everybody on the host:
``HOLDFAST_LOAD_ADMIN_KEY`` (a key of the shop with the scope ``admin``) and
``HOLDFAST_LOAD_POS_KEY`` (``pos``; the admin's serves, too). With ``_FILE`` after its name, either
names a file that has the key.
"""

import argparse
import base64
import json
import textwrap
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtest.drop.arrivals import Arrival, BadArrivals, asked_for, from_rates, recorded
from loadtest.drop.guard import NotAllowed, may_go_to
from loadtest.drop.scenarios import Drop, Scenario, Stage, scenarios
from loadtest.drop.thresholds import Threshold
from loadtest.drop.whims import Lines

ADMIN_KEY = "HOLDFAST_LOAD_ADMIN_KEY"
POS_KEY = "HOLDFAST_LOAD_POS_KEY"
_DEFAULT = "warm_up_and_drop"
_OWN = "load-"
"""Begins the sku of every product of the load: what the shop sells itself is not touched."""
_REPLAY_BEGINS_S = 3.0
_SETTLES_S = 15.0
"""After the last recorded arrival, before nobody begins anything any more."""
_FINISHES_S = 90.0


def add_options(add: Any) -> None:  # noqa: ANN401  argparse's parser, or Locust's
    """Add ours to a parser's group."""
    add("--scenario", choices=list(scenarios()), default=_DEFAULT, help="What is played.")
    add("--shoppers", type=int, help="Another number of shoppers, or arrivals; not for replay.")
    add("--units", type=int, help="Another number of units, over all drops.")
    add("--compress", type=float, default=1.0, help="Play all of it so many times as fast.")
    add("--seed", type=int, default=1, help="Of every shopper's whims.")
    add("--show", default="load-test", help="The show; it is made if it is not there.")
    add("--till-url", default="", help="Of a till, so that its books are compared, too.")
    add(
        "--metrics-url",
        default="",
        metavar="URLS",
        help="Where each gateway tells its metrics, with commas, if not at --host: the port for "
        "operators (HOLDFAST_METRICS_PORT).",
    )
    add(
        "--socket-url",
        default="",
        metavar="URL",
        help="Where sockets are opened, if not where tickets say; inside a cluster tickets lead "
        "to the way in from outside.",
    )
    add("--out", default="load-results", help="Where measured.json and the report are put.")
    add("--arrivals", default="", help="For replay: the recorded arrivals, JSON lines.")
    add("--times", type=int, default=1, help="For replay: each arrival so many times.")
    add("--thresholds", default="", help="A JSON list of bounds to keep, in place of ours.")
    add(
        "--allow-remote-host",
        default="",
        metavar="NAMES",
        help="Hosts that are not this machine are refused unless their names are repeated here, "
        "with commas.",
    )


@dataclass(frozen=True, slots=True)
class Options:
    """What was told."""

    urls: tuple[str, ...]
    """Of the gateways, taken in turn; or of what is before them."""
    metrics_urls: tuple[str, ...]
    """Where each gateway tells its metrics."""
    socket_url: str | None
    """Where sockets are opened, whatever tickets say."""
    scenario: Scenario
    arrivals: tuple[Arrival, ...]
    """When shoppers come, if they do not wait for the server."""
    units: Mapping[str, int]
    """By sku, if a recorded show says what was wanted."""
    show: str
    till_url: str | None
    out: Path
    seed: int
    allowed: str | None
    admin_key: str = field(repr=False)
    pos_key: str = field(repr=False)

    @property
    def last_s(self) -> float:
        """When the last shopper comes who does not wait for the server, or begins anything."""
        return self.arrivals[-1].at_s if self.arrivals else self.scenario.closes_at_s

    @property
    def skus(self) -> tuple[str, ...]:
        """The products the load is about."""
        if self.units:
            return tuple(sorted(self.units))
        return tuple(f"{_OWN}{number}" for number in range(1, self.scenario.products + 1))


def read_options(said: argparse.Namespace, environment: Mapping[str, str]) -> Options:
    """Make sense of what was told.

    Raises:
        NotAllowed: it makes none; one sentence says why.
    """
    if not said.host:
        raise NotAllowed("Say what to test: --host http://127.0.0.1:8080 (several with commas).")
    admin_key = _key(environment, ADMIN_KEY)
    pos_key = _key(environment, POS_KEY) or admin_key
    if not admin_key:
        raise NotAllowed(f"{ADMIN_KEY} must hold a key of the shop with the scope admin.")
    _check_key(admin_key)
    least = {"--shoppers": said.shoppers, "--units": said.units, "--times": said.times}
    for name, number in least.items():
        if number is not None and number < 1:
            raise NotAllowed(f"{name} must be at least 1.")
    if said.compress <= 0:
        raise NotAllowed("--compress must be more than 0.")
    _check_replay(said)
    scenario, arrivals, units = _scenario(said)
    urls = _urls(said.host)
    metrics_urls = tuple(url.removesuffix("/metrics") for url in _urls(said.metrics_url))
    return Options(
        urls=urls,
        metrics_urls=metrics_urls or urls,
        socket_url=_socket_url(said),
        scenario=scenario,
        arrivals=tuple(arrivals),
        units=units,
        show=said.show,
        till_url=said.till_url or None,
        out=Path(said.out),
        seed=said.seed,
        allowed=said.allow_remote_host.lower() or None,
        admin_key=admin_key,
        pos_key=pos_key,
    )


def _check_replay(said: argparse.Namespace) -> None:
    """See that nothing is told that would have no effect.

    Raises:
        NotAllowed: something is.
    """
    if said.scenario != "replay":
        if said.arrivals or said.times > 1:
            raise NotAllowed("--arrivals and --times are for --scenario replay alone.")
    elif not said.arrivals:
        raise NotAllowed("replay needs --arrivals FILE.")
    elif said.shoppers is not None:
        raise NotAllowed(
            "--shoppers is nothing to replay, whose shoppers are those of the file: say --times 3 "
            "for three times as many."
        )


def _urls(text: str) -> tuple[str, ...]:
    return tuple(url.strip().rstrip("/") for url in text.split(",") if url.strip())


def _socket_url(said: argparse.Namespace) -> str | None:
    """Where sockets are to be opened; ``None`` is where tickets say.

    Raises:
        NotAllowed: it is no socket's address, or of a host that was not named.
    """
    url: str = said.socket_url
    if not url:
        return None
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise NotAllowed(f"--socket-url must be a ws or wss address, not {url}.")
    if not may_go_to(url, said.allow_remote_host):
        raise NotAllowed(
            f"--socket-url: {parts.hostname} is not this machine: if it is yours to burden, say "
            f"--allow-remote-host {parts.hostname}."
        )
    return url


def _scenario(said: argparse.Namespace) -> tuple[Scenario, list[Arrival], dict[str, int]]:
    scenario = scenarios()[said.scenario].of(said.shoppers, said.units)
    scenario = scenario.compressed(said.compress)
    arrivals, units = from_rates(scenario.rates), {}
    if said.scenario == "replay":
        arrivals = _recorded(said)
        units = _released(asked_for(arrivals), said)
        scenario = _lasting(scenario, arrivals[-1].at_s, sum(units.values()))
    if said.thresholds:
        scenario = replace(scenario, thresholds=_thresholds(Path(said.thresholds)))
    return scenario, arrivals, units


def _recorded(said: argparse.Namespace) -> list[Arrival]:
    try:
        lines = Path(said.arrivals).read_text(encoding="utf-8").splitlines()
        arrivals = recorded(lines, said.times, said.compress, _REPLAY_BEGINS_S, said.seed)
    except (OSError, ValueError, BadArrivals) as error:
        raise NotAllowed(f"{said.arrivals} cannot be replayed: {error}") from None
    return [replace(one, lines=_own(one.lines or ())) for one in arrivals]


def _own(lines: Lines) -> Lines:
    """The same of the load's own products."""
    return tuple((f"{_OWN}{sku}", quantity) for sku, quantity in lines)


def _released(asked: dict[str, int], said: argparse.Namespace) -> dict[str, int]:
    """As many as were asked for in the night, or ``--units`` in the same shares."""
    once = {sku: units // said.times for sku, units in asked.items()}
    if said.units is None:
        return once
    total = sum(once.values())
    return {sku: max(1, said.units * units // total) for sku, units in once.items()}


def _lasting(scenario: Scenario, last_s: float, units: int) -> Scenario:
    closes_s = last_s + _SETTLES_S
    stages = (Stage("replay", closes_s, 1), Stage("finishing", closes_s + _FINISHES_S, 1))
    return replace(scenario, stages=stages, drops=(Drop(1.0, units),))


def _thresholds(path: Path) -> tuple[Threshold, ...]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return tuple(Threshold(**one) for one in said)
    except (OSError, ValueError, TypeError) as error:
        raise NotAllowed(f"{path} holds no thresholds: {error}") from None


def as_text() -> str:
    """The scenarios, a paragraph each."""
    return "\n".join(
        f"{one.name}\n  {one.tells}\n\n{textwrap.indent(one.arithmetic, '  ')}\n"
        for one in scenarios().values()
    )


def _key(environment: Mapping[str, str], name: str) -> str:
    """A key as it was given, itself or in a file; empty if it was not.

    Raises:
        NotAllowed: it was given twice, or the file cannot be read.
    """
    path = environment.get(f"{name}_FILE", "")
    if not path:
        return environment.get(name, "")
    if environment.get(name):
        raise NotAllowed(f"Set {name} or {name}_FILE, not both.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise NotAllowed(f"{name}_FILE names a file that cannot be read.") from None


def _check_key(key: str) -> None:
    """See that a key says which shop it is of; its signature is for the gateway to check.

    Raises:
        NotAllowed: it does not.
    """
    payload = key.partition(".")[2].partition(".")[0]
    try:
        json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["shop"]
    except (ValueError, KeyError, TypeError):
        raise NotAllowed(f"{ADMIN_KEY} holds no key of a shop.") from None
