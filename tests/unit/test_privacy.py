"""What is said about stored data names everything that is stored."""

import re
from pathlib import Path

import pytest

from gateway.keys import ShopKeys, StripeKeys
from gateway.settings import Settings

PAGE = Path(__file__).parents[2] / ".github" / "PRIVACY.md"
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


def test_every_setting_in_the_table_is_one_and_has_that_default() -> None:
    told = re.findall(r"`([A-Z_]+_(?:DAYS|S))` \((?:(\d+))", TABLE)
    assert len(told) >= 6
    for name, default in told:
        days = name == "HOLD_RETENTION_S"
        value = getattr(Settings(), name.lower())
        assert value == int(default) * (86_400 if days else 1), name
