"""House rules, as tests."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parent.parent
MODULE_LINES = 400
FUNCTION_LINES = 70
TOP_LEVEL = {
    "pyproject.toml", "README.md", "LICENSE", "uv.lock",
    "gateway", "lua", "loadtest", "k8s", "tests",
}  # fmt: skip
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "tools"}


def tracked(*patterns: str) -> list[Path]:
    """Files of the project, whether committed yet or not."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def modules() -> list[Path]:
    return [
        path for path in sorted((ROOT / "gateway").rglob("*.py")) if "__pycache__" not in path.parts
    ]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_the_top_level_holds_nothing_else() -> None:
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_no_module_is_too_long() -> None:
    long = [
        (str(path.relative_to(ROOT)), lines)
        for path in tracked("*.py", "*.lua", "*.js")
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES
    ]
    assert long == []


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in tracked("*.py")
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_there_is_no_drawer() -> None:
    assert [str(path) for path in modules() if path.stem in DRAWERS] == []


def test_the_map_names_every_room() -> None:
    assert gateway.__doc__
    walk = gateway.__doc__.split("holds the order.")[1]
    named = set(re.findall(r"\w+", " ".join(line[:25] for line in walk.splitlines())))
    rooms = {
        path.stem if path.is_file() else path.name
        for path in (ROOT / "gateway").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and path.name != "__init__.py"
    }
    assert named == rooms


def test_nothing_is_left_for_later() -> None:
    words = ("TO-DO", "FIX-ME", "X-X-X", "NotImplemented-Error")  # not to find this line itself
    marks = re.compile(rf"\b({'|'.join(words).replace('-', '')})\b")
    left = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked("*.py", "*.lua", "*.js", "*.css", "*.html")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert left == []


def test_imports_go_one_way() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    outcome = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout
