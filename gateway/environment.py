"""Reads the settings from the environment, once, and checks them.

A wrong or missing setting is named in one sentence (``SettingsError``) before anything starts. What
may hold a secret can be given as a file instead, as orchestrators mount them:
``HOLDFAST_SECRET_FILE`` names the file with what ``HOLDFAST_SECRET`` would hold.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from gateway.settings import HIDDEN, Settings, SettingsError, variable

KEY = "HOLDFAST_KEY"
"""The variable with a program's key."""
_NO_SETTINGS = (KEY, "HOLDFAST_LOAD_")
"""How variables begin that programs of ours read besides: keys of a shop, signed by one command for
another, which the shell they were put into still has.
"""
_LIKE_A_KEY = re.compile(r"[A-Za-z0-9._-]+")
LEAST_SECRET = {"secret": 32, "stripe_api_key": 16, "stripe_webhook_secret": 16}
"""Characters a secret has at least, where it is needed."""


def read(environment: Mapping[str, str], needs: Collection[str] = LEAST_SECRET) -> Settings:
    """Read the settings; ``needs`` names the secrets the caller cannot do without.

    Raises:
        SettingsError: a variable is missing, unknown, or out of its bounds, or two contradict.
    """
    fields = {variable(field): field for field in Settings.__struct_fields__}
    files = {f"{variable(field)}{_FILE}": field for field in HIDDEN}
    for name in environment:
        ours = name.startswith("HOLDFAST_") and not name.startswith(_NO_SETTINGS)
        if ours and name not in fields.keys() | files.keys():
            raise SettingsError(f"{name} is not a setting of Holdfast.")
    given: dict[str, Any] = {
        field: environment[name] for name, field in fields.items() if environment.get(name)
    }
    for name, field in files.items():
        if path := environment.get(name):
            if field in given:
                raise SettingsError(f"Set {variable(field)} or {name}, not both.")
            given[field] = _secret_in(Path(path), name)
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_sentence(str(error))) from None
    for name in needs:
        given_length, least = len(getattr(settings, name)), LEAST_SECRET[name]
        if not given_length:
            raise SettingsError(f"{variable(name)} must be set.")
        if given_length < least:
            raise SettingsError(f"{variable(name)} must have at least {least} characters.")
    _check_addresses(settings)
    _check_networks(settings)
    _check_relations(settings)
    return settings


def program_key(environment: Mapping[str, str], file: Path | None = None) -> str:
    """A program's key: what ``file`` holds, or else ``HOLDFAST_KEY``; empty without either.

    Never from the command line, which every user of the machine can read.

    Raises:
        SettingsError: there is none in the file, or it cannot be one. As a header it would be
            refused with its text.
    """
    where = f"{file}" if file else KEY
    try:
        text = file.read_text(errors="replace") if file else environment.get(KEY, "")
    except OSError:
        raise SettingsError(f"{where} cannot be read.") from None
    key = text.strip()
    if (key or file) and not _LIKE_A_KEY.fullmatch(key):
        raise SettingsError(f"{where} holds no key: one has letters, digits, '.', '-' and '_'.")
    return key


def _secret_in(path: Path, name: str) -> str:
    """What a file holds, without the line end that editors put there."""
    try:
        return path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{name} names a file that cannot be read.") from None


def _sentence(reason: str) -> str:
    """Turn msgspec's reason into one sentence that names the variable, and never its value."""
    rule, _, path = reason.partition(" - at `$.")
    return f"{variable(path.rstrip('`'))} is wrong: {rule[0].lower()}{rule[1:]}."


_FILE = "_FILE"

_SCHEMES = {
    "redis_url": {"redis", "rediss", "unix"},
    "otlp_url": {"http", "https"},
    "stripe_url": {"http", "https"},
    "sandbox_url": {"http", "https"},
    "public_url": {"http", "https"},
    "claims_url": {"sqlite", "postgresql"},
}


def _check_addresses(settings: Settings) -> None:
    """An address that cannot be one would only be noticed by the first shopper."""
    for name, schemes in _SCHEMES.items():
        address = getattr(settings, name)
        if not address:
            continue
        try:
            parts = urlsplit(address)
            good = parts.scheme in schemes and bool(_place(parts)) and parts.port != 0
            good = good and not (parts.scheme == "postgresql" and _MISREAD.search(address))
        except ValueError:
            good = False
        if not good:
            raise SettingsError(f"{variable(name)} must be an address such as {_EXAMPLES[name]}.")


_MISREAD = re.compile(r"%(?![0-9A-Fa-f]{2})|@[^/]*@")
"""What Postgres would take for something else, and say in its errors: half of a password, say, for
a host."""

_EXAMPLES = {
    "redis_url": "redis://127.0.0.1:6379/0",
    "otlp_url": "http://127.0.0.1:4318",
    "stripe_url": "http://127.0.0.1:12111",
    "sandbox_url": "http://127.0.0.1:12111",
    "public_url": "https://shop.example.com",
    "claims_url": "sqlite:///var/lib/holdfast/claims or postgresql://user@host/database",
}


def _place(parts: SplitResult) -> str | None:
    """What an address cannot be without."""
    match parts.scheme:
        case "unix":
            return parts.path
        case "sqlite":
            return "" if parts.netloc else parts.path.strip("/")
        case "postgresql":
            return parts.hostname or parts.query  # The host may be a folder, and is named there.
        case _:
            return parts.hostname


_NETWORKS = ("trusted_proxies", "webhook_targets")


def _check_networks(settings: Settings) -> None:
    """Whom we trust, or call, must not hang on a slip of the pen."""
    for name in _NETWORKS:
        for one in listed(getattr(settings, name)):
            try:
                ipaddress.ip_network(one)
            except ValueError:
                raise SettingsError(
                    f"{variable(name)} must list networks such as 10.0.0.0/8, or addresses."
                ) from None


def listed(words: str) -> list[str]:
    """What a setting lists, separated by commas."""
    return [word.strip() for word in words.split(",") if word.strip()]


def _check_relations(settings: Settings) -> None:
    """Settings that are each good may still contradict one another."""
    relations = [
        ("hold_max_s", "hold_ttl_s", settings.hold_max_s >= settings.hold_ttl_s),
        ("payment_budget_s", "hold_ttl_s", settings.payment_budget_s >= settings.hold_ttl_s),
        (
            "payment_budget_s",
            "stripe_timeout_ms",
            settings.payment_budget_s * 1000 > settings.stripe_timeout_ms,
        ),
        (
            "redis_timeout_ms",
            "reserve_script_ms",
            settings.redis_timeout_ms > settings.reserve_script_ms,
        ),
        (
            "shopper_retention_days",
            "hold_max_s",
            settings.shopper_retention_days * 86_400 > settings.hold_max_s,
        ),
        (
            "shopper_retention_days",
            "payment_budget_s",
            settings.shopper_retention_days * 86_400 > settings.payment_budget_s,
        ),
        (
            "hold_retention_s",
            "payment_budget_s",
            settings.hold_retention_s > settings.payment_budget_s,
        ),
    ]
    for larger, smaller, holds in relations:
        if not holds:
            raise SettingsError(f"{variable(larger)} must not be less than {variable(smaller)}.")
