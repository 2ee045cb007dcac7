"""The load test runs on hosts that have nothing of Holdfast but its folder."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DROP = ROOT / "loadtest" / "drop"
BESIDE = [ROOT / "loadtest" / name for name in ("locustfile.py", "chart.py")]
ON_EVERY_HOST = [*BESIDE, *sorted(DROP.glob("*.py"))]
MAY_HAVE_LOCUST = {"locustfile", "shapes", "greenlets"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", ON_EVERY_HOST, ids=lambda path: path.stem)
def test_nothing_but_the_standard_library_locust_and_a_socket_is_imported(path: Path) -> None:
    for name in imported(path):
        top = name.partition(".")[0]
        assert top in sys.stdlib_module_names | {"locust", "gevent", "websocket", "loadtest"}, name
        assert top != "loadtest" or name.startswith(("loadtest.drop", "loadtest.chart")), name
        assert top not in {"locust", "gevent"} or path.stem in MAY_HAVE_LOCUST, name
        assert top != "websocket" or path.stem == "live_socket", name


def test_the_folder_alone_is_enough(tmp_path: Path) -> None:
    """Also from elsewhere, and with what is not there refused rather than found by chance."""
    there = tmp_path / "loadtest"
    shutil.copytree(DROP, there / "drop", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*BESIDE, there / "__init__.py"):
        shutil.copy(ROOT / "loadtest" / path.name, there)
    modules = [f"loadtest.drop.{path.stem}" for path in DROP.glob("*.py")]
    without_locust = [name for name in modules if name.rpartition(".")[2] not in MAY_HAVE_LOCUST]
    script = (
        "import sys, importlib\n"
        "absent = 'gateway', 'locust', 'gevent', 'msgspec', 'httpx'\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        f"for name in {without_locust!r}:\n"
        "    importlib.import_module(name)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
