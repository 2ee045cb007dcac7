"""Every process of the demo but Valkey, and what each is told. Pure."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.demo.home import Home
from gateway.sandbox.ports import HOST
from gateway.sandbox.stripe.faults import NO_FAULTS, FaultPlan

SHOP = "demo"
SHOW = "tonight"
STRIPE_RATE_PER_S = 25
"""Requests a second and endpoint, as Stripe itself allows: a demo must not promise more."""

_SEED = 1
_OURS = ("HOLDFAST_", "STRIPE_")
_ALSO_OURS = frozenset({"REDIS_URL", "TILL_SECRET"})
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
"""Everything is on loopback, and a proxy could not reach it."""

_TILLS = "127.0.0.0/8"
"""Where orders may be delivered to: the demo's till is on loopback."""

_PACE_WITH_PEOPLE = {"HOLDFAST_HOLD_TTL_S": "120"}
"""Somebody at the page needs time to look at everything."""

_PACE_WITH_CROWD = {
    "HOLDFAST_HOLD_TTL_S": "20",
    "HOLDFAST_PAYMENT_BUDGET_S": "30",
    "HOLDFAST_DECLINE_GRACE_S": "10",
}
"""Short holds: what somebody walked away from is on sale again, and bought by somebody else,
several times within a minute. A person still manages, and may extend. The budget leaves room for a
queue of some hundred payments at Stripe's rate."""


@dataclass(frozen=True, slots=True)
class Site:
    """The addresses and the home of one run."""

    home: Home
    redis_url: str
    port: int
    stripe_port: int
    till_port: int
    crowd: int = 0
    faults: FaultPlan = NO_FAULTS

    @property
    def url(self) -> str:
        """Where the page and the gateway are."""
        return f"http://{HOST}:{self.port}"

    @property
    def stripe_url(self) -> str:
        """Where the sandbox is."""
        return f"http://{HOST}:{self.stripe_port}"

    @property
    def faults_url(self) -> str:
        """Where the sandbox's faults are shown, and switched."""
        return f"{self.stripe_url}/v1/sandbox/faults"

    @property
    def till_url(self) -> str:
        """Where the till is; deliveries go to its ``/orders``."""
        return f"http://{HOST}:{self.till_port}"


@dataclass(frozen=True, slots=True)
class Part:
    """One process: ``python -m module arguments``.

    It is ready when the address ``ready`` answers anything but an error of the server (the sandbox
    asks for a key, which also says that it is there); without one, as soon as it runs.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: str | None = None


def parts(site: Site) -> tuple[Part, ...]:
    """The parts that run all the time, the slowest to start first."""
    gateway = gateway_environment(site)
    return (
        Part("gateway", "gateway", ("serve",), gateway, f"{site.url}/readyz"),
        Part(
            "Stripe sandbox",
            "gateway.sandbox.stripe",
            _stripe_arguments(site),
            ready=f"{site.stripe_url}/v1/sandbox/summary",
        ),
        Part(
            "till",
            "gateway.sandbox.till",
            ("--host", HOST, "--port", str(site.till_port), "--data", site.home.data("till")),
            {"TILL_SECRET": site.home.secrets.till},
            f"{site.till_url}/summary",
        ),
        Part("relay", "gateway", ("relay",), gateway),
        Part("sweep", "gateway", ("sweep",), gateway),
    )


def crowd(site: Site) -> Part:
    """The shoppers."""
    arguments = {
        "--url": site.url,
        "--show": SHOW,
        "--sandbox-url": site.stripe_url,
        "--shoppers": str(site.crowd),
        "--seed": str(_SEED),
    }
    return Part("crowd", "gateway.demo.crowd", _flags(arguments))


def audit(site: Site) -> Part:
    """The audit, which ends by itself."""
    return Part("audit", "gateway", ("audit", "--json"), gateway_environment(site))


def gateway_environment(site: Site) -> dict[str, str]:
    """The settings of the gateway, the relay, the sweep and the audit."""
    secrets = site.home.secrets
    pace = _PACE_WITH_CROWD if site.crowd else _PACE_WITH_PEOPLE
    return {
        "REDIS_URL": site.redis_url,
        "STRIPE_API_KEY": secrets.stripe_key,
        "STRIPE_WEBHOOK_SECRET": secrets.stripe_webhook,
        "HOLDFAST_STRIPE_URL": site.stripe_url,
        "HOLDFAST_SECRET": secrets.holdfast,
        "HOLDFAST_SHOP": SHOP,
        "HOLDFAST_SHOW": SHOW,
        "HOLDFAST_HOST": HOST,
        "HOLDFAST_PORT": str(site.port),
        "HOLDFAST_SETTLE_INTERVAL_S": "2",
        "HOLDFAST_RELAY_BACKOFF_MAX_S": "5",
        "HOLDFAST_DRAIN_S": "1",
        "HOLDFAST_WEBHOOK_TARGETS": _TILLS,
        **pace,
    }


def private(
    inherited: Mapping[str, str], own: Mapping[str, str], path: Iterable[str]
) -> dict[str, str]:
    """The environment of a child: ours without any setting somebody made for another gateway.

    ``path`` is where we import from; the child imports from there too, whatever directory it is
    started in.
    """
    kept = {name: value for name, value in inherited.items() if not _is_foreign(name)}
    return kept | {"PYTHONPATH": os.pathsep.join(entry for entry in path if entry)} | dict(own)


def _is_foreign(name: str) -> bool:
    return name.startswith(_OURS) or name in _ALSO_OURS or name.lower() in _PROXIES


def _stripe_arguments(site: Site) -> tuple[str, ...]:
    return _flags(
        {
            "--host": HOST,
            "--port": str(site.stripe_port),
            "--data": site.home.data("stripe"),
            "--rate-limit": str(STRIPE_RATE_PER_S),
            "--webhook-url": f"{site.url}/v1/stripe/webhook",
            "--webhook-secret": site.home.secrets.stripe_webhook,
            "--faults": msgspec.json.encode(site.faults).decode(),
        }
    )


def _flags(arguments: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(word for pair in arguments.items() for word in pair)
