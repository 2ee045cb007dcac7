"""The Lua scripts are found, wherever the package was installed."""

import ast
import hashlib
from pathlib import Path

import pytest

import gateway
from gateway import scripts


def test_a_script_is_known_by_the_digest_of_its_text() -> None:
    script = scripts.load("hold_reserve")
    assert script.name == "hold_reserve"
    assert script.text.startswith("#!lua")
    assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()
    assert scripts.load("hold_reserve") is script


def test_the_scripts_inside_the_package_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, checkout = tmp_path / "wheel", tmp_path / "checkout"
    for place in (wheel, checkout):
        place.mkdir()
        (place / "hold_reserve.lua").touch()
    monkeypatch.setattr(scripts, "_FOLDERS", (wheel, checkout))
    assert scripts.folder() == wheel
    (wheel / "hold_reserve.lua").unlink()
    assert scripts.folder() == checkout


def test_an_incomplete_installation_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "_FOLDERS", (tmp_path,))
    with pytest.raises(FileNotFoundError, match="install holdfast again"):
        scripts.folder()


def test_every_script_is_used_and_every_used_script_is_there() -> None:
    package = Path(gateway.__file__).parent
    used = {
        call.args[0].value
        for path in package.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "load"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert used == {path.stem for path in scripts.folder().glob("*.lua")}
