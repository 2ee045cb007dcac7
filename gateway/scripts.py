"""Finds and loads the Lua scripts; nothing else in the package reads them.

Each is a file in ``lua/`` whose header is its contract. They sit beside the package in a checkout
and inside it in a wheel (hatchling's forced files are not part of an editable install).
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDERS = (Path(__file__).parent / "lua", Path(__file__).parent.parent / "lua")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script: its name, its text, and the digest Redis knows it by."""

    name: str
    text: str
    sha: str


def of_script(script: Script) -> dict[str, str]:
    """What a span says of a call, in OpenTelemetry's words."""
    return {
        "db.system.name": "redis",
        "db.operation.name": "EVALSHA",
        "db.stored_procedure.name": script.name,
    }


def folder() -> Path:
    """Where the scripts are.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for candidate in _FOLDERS:
        if (candidate / "hold_reserve.lua").is_file():
            return candidate
    raise FileNotFoundError("the Lua scripts are missing; install holdfast again")


@cache
def load(name: str) -> Script:
    """Read one script by its name, e.g. ``hold_reserve``."""
    text = (folder() / f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
