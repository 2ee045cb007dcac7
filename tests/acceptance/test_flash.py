"""The flash sale as its one command plays it, but small: good as it is, bad with a planted fault.

    HOLDFAST_TEST_DEEP=yes pytest -n 0 tests/acceptance/test_flash.py

The whole of it is ``python -m loadtest.flash``: 3,000 shoppers, 500 units, some four minutes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.depth import only_deep
from tests.processes import ROOT

pytestmark = only_deep

_WITHIN_S = 400
_SMALL = ("--shoppers", "100", "--units", "20", "--compress", "8")


def play(out: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the verdict, and what was printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "loadtest.flash", *_SMALL, "--out", str(out), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert (out / "verdict.json").exists(), said
    return ended.returncode, json.loads((out / "verdict.json").read_text()), said


def test_a_sale_as_it_is_ends_good_with_a_report(tmp_path: Path) -> None:
    code, verdict, said = play(tmp_path)
    assert (code, verdict["word"]) == (0, "good"), said
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    assert said.count("VERDICT  warm_up_and_drop: good") == 1


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("oversell", "oversell"), ("staleness", "staleness"), ("slow_redis", "slow Redis")],
)
def test_a_planted_fault_ends_bad_and_is_named(tmp_path: Path, fault: str, cause: str) -> None:
    code, verdict, said = play(tmp_path, "--plant", fault)
    assert (code, verdict["word"]) == (1, "bad"), said
    assert verdict["failures"][0]["cause"] == cause, said
