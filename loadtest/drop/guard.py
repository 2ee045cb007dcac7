"""What a load test refuses to do: burden a host nobody named, and come near live payment keys.

Pure, but for ``reads``, ``check_mode`` and ``check``: they ask the gateways, and look at our own
environment.
"""

import ipaddress
import os
import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any

from loadtest.drop.shop_api import AUDIT_S, Api, NoAnswer, Refused, patiently

REFUSED = 2
"""The exit code."""
_LIVE = ("sk_live_", "rk_live_", "pk_live_")


class NotAllowed(Exception):
    """One sentence for whoever started it."""


def check_hosts(urls: Collection[str], allowed: str | None, option: str = "--host") -> None:
    """Every address is this machine's, or of a host that was named.

    Raises:
        NotAllowed: one is not.
    """
    for url in urls:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise NotAllowed(f"{option} must be an http or https address, not {url}.")
        if not may_go_to(url, allowed):
            raise NotAllowed(
                f"{parts.hostname} is not this machine: if it is yours to burden, say "
                f"--allow-remote-host {parts.hostname}."
            )


def may_go_to(url: str, allowed: str | None) -> bool:
    """Whether load may go to this address; ``allowed`` are names with commas."""
    host = urllib.parse.urlsplit(url).hostname or ""
    names = {name.strip().lower() for name in (allowed or "").split(",")}
    if host == "localhost" or (host and host in names):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_environment(environment: Mapping[str, str]) -> None:
    """No live payment key is within reach.

    Raises:
        NotAllowed: one is; it is named, and not shown.
    """
    for name, value in environment.items():
        if any(live in value for live in _LIVE):
            raise NotAllowed(
                f"{name} holds a live payment key: a load test never runs where one is in reach."
            )


def check_config(url: str, config: Mapping[str, Any]) -> None:
    """The gateway takes no real money, as far as it says.

    Raises:
        NotAllowed: its pages use a live key.
    """
    if str(config.get("publishable_key") or "").startswith("pk_live_"):
        raise NotAllowed(f"{url} takes real money (its publishable key is live): refused, always.")


def reads(urls: Collection[str]) -> dict[str, Any]:
    """What the gateways say of themselves; the last one's, if all are as they should be.

    Raises:
        NotAllowed: one cannot be asked, or takes real money.
    """
    config: dict[str, Any] = {}
    for url in urls:
        try:
            answer = Api(url).call("GET", "/config.json")
        except NoAnswer as error:
            raise NotAllowed(f"{error}.") from None
        if answer.status != 200 or not isinstance(answer.said, dict):
            raise NotAllowed(f"{url} does not say whether it takes real money (/config.json).")
        config = answer.said
        check_config(url, config)
    return config


def check_mode(url: str, admin_key: str) -> None:
    """The gateway says that its payment key is a test key, whatever its pages use.

    One that does not say is refused, on this machine as well: a port here may lead to any cluster,
    and where there is no audit there would be no verdict.

    Raises:
        NotAllowed: it takes real money, or does not say.
    """
    try:
        said = patiently(Api(url, admin_key, AUDIT_S), "/v1/audit")
    except (NoAnswer, Refused) as error:
        raise NotAllowed(f"{url} does not say whether it takes real money ({error}).") from None
    mode = said.get("mode") if isinstance(said, dict) else None
    if mode == "live":
        raise NotAllowed(f"{url} takes real money (its payment key is live): refused, always.")
    if mode != "test":
        raise NotAllowed(f"{url} does not say whether it takes real money (/v1/audit).")


def check(urls: Collection[str], allowed: str | None) -> dict[str, Any]:
    """All of it but ``check_mode``; returns what the gateways say of themselves.

    Raises:
        NotAllowed: the first thing that is wrong.
    """
    check_environment(os.environ)
    check_hosts(urls, allowed)
    return reads(urls)
