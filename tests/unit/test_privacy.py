"""What is said about stored data names everything that is stored."""

import re
from pathlib import Path

import pytest

from gateway.keys import ShopKeys, StripeKeys
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGE = ROOT / ".github" / "PRIVACY.md"
TABLE = "\n".join(line for line in PAGE.read_text().splitlines() if line.startswith("| "))


def names(keys: type) -> set[str]:
    """The kinds of keys there are, as they are called in Redis."""
    made = keys("x")
    found = set()
    for member in vars(keys):
        if not member.startswith("_") and member not in {"every", "shop", "account"}:
            key = getattr(made, member)
            found.add((key("x") if callable(key) else key).split(":")[2])
    return found


@pytest.mark.parametrize("keys", [ShopKeys, StripeKeys])
def test_every_key_is_in_the_table(keys: type) -> None:
    told = {name for words in re.findall(r"`([^`]+)`", TABLE) for name in re.findall(r"\w+", words)}
    assert len(names(keys)) >= 4
    assert sorted(names(keys) - told) == []


def test_wherever_a_setting_sends_something_is_in_the_table() -> None:
    rows = {
        "redis_url": "`order:<id>`",
        "claims_url": "claims table",
        "stripe_url": "| Stripe |",
        "otlp_url": "`HOLDFAST_OTLP_URL`",
    }
    assert [name for name, row in rows.items() if row not in TABLE] == []
    # By these browsers come in; nothing is sent there.
    ways = {"public_url", "sandbox_url"}
    addresses = {name for name in Settings.__struct_fields__ if name.endswith("_url")}
    assert addresses == rows.keys() | ways


def test_what_the_readme_says_of_an_export_writes_a_document() -> None:
    commands = re.findall(r"`holdfast (privacy export [^`]*)`", README.read_text())
    assert commands
    assert [one for one in commands if "--out" not in one and "--json" not in one] == []


def test_every_setting_in_the_table_is_one_and_has_that_default() -> None:
    told = re.findall(r"`([A-Z_]+_(?:DAYS|S))` \((?:(\d+))", TABLE)
    assert len(told) >= 6
    for name, default in told:
        days = name == "HOLD_RETENTION_S"
        value = getattr(Settings(), name.lower())
        assert value == int(default) * (86_400 if days else 1), name
