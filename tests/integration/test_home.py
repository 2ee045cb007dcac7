"""A run's files and secrets."""

from pathlib import Path

import pytest

from gateway.demo.home import open_home
from gateway.demo.refusal import Refusal


def test_without_a_data_directory_all_is_gone_with_the_run() -> None:
    with open_home(None) as home:
        assert home.logs.is_dir()
        assert home.valkey is None
        assert home.data("till") == ":memory:"
    assert not home.root.exists()


def test_a_data_directory_keeps_the_secrets_to_its_owner(tmp_path: Path) -> None:
    with open_home(tmp_path / "data") as first:
        kept = first.root / "secrets.json"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert first.data("till") == str(first.root / "till.sqlite")
    with open_home(tmp_path / "data") as second:
        assert second.secrets == first.secrets
    with open_home(tmp_path / "other") as other:
        assert other.secrets != first.secrets


def test_two_runs_cannot_share_a_data_directory(tmp_path: Path) -> None:
    with (
        open_home(tmp_path),
        pytest.raises(Refusal, match=r"^Another holdfast demo is using [^\n]+\.$"),
        open_home(tmp_path),
    ):
        pass
    with open_home(tmp_path):
        pass


def test_what_is_no_directory_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(Refusal, match="cannot use"), open_home(file):
        pass


def test_secrets_that_cannot_be_read_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    with pytest.raises(Refusal, match=r"secrets\.json is not readable"), open_home(tmp_path):
        pass
    assert (tmp_path / "secrets.json").read_text() == "{}"
