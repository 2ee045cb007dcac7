"""The Dockerfile of the image, instruction by instruction, and the lists of what it installs."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.manifests.reading import K8S, ROOT

IMAGE = K8S / "image"
Pins = dict[str, tuple[str, frozenset[str]]]
"""The version of each package, and the hashes of its files."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; ``rest`` is all after its name, on one line."""

    stage: str
    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The rest in words; a list in JSON is the words it holds."""
        found = re.search(r"\[.*\]$", self.rest)
        return shlex.split(found[0][1:-1].replace('",', '"')) if found else shlex.split(self.rest)


def instructions() -> list[Instruction]:
    """All of them, in order; those before the first stage belong to none."""
    text = re.sub(r"^#.*\n", "", (IMAGE / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage, found = "", []
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                stage = rest.rpartition(" AS ")[2]
            found.append(Instruction(stage, word, " ".join(rest.split())))
    return found


def of(stage: str, *words: str) -> list[Instruction]:
    """The instructions of a stage with these names."""
    return [one for one in instructions() if one.stage == stage and one.word in words]


def variables(stage: str, before: str) -> dict[str, str]:
    """What ``ENV`` sets in a stage, where the search path was ``before``."""
    pairs = (word.split("=", 1) for one in of(stage, "ENV") for word in one.words)
    return {name: value.replace("$PATH", before) for name, value in pairs}


def pins(text: str) -> Pins:
    """What a list of requirements pins."""
    found: Pins = {}
    for line in re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines():
        name, version = re.split(r"[ ;]", line, maxsplit=1)[0].split("==")
        found[name] = (version, frozenset(re.findall(r"--hash=(\S+)", line)))
    return found


def locked(extras: set[str]) -> Pins:
    """What the lock file says the project needs with these extras, whatever the platform."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages: dict[str, dict[str, Any]] = {package["name"]: package for package in lock["package"]}
    project = packages["holdfast"]
    left = list(_needed(project, extras))
    found: Pins = {}
    while left:
        name, wanted = left.pop()
        package = packages[name]
        files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        if name not in found or wanted:
            left += _needed(package, wanted)
        found[name] = (package["version"], frozenset(file["hash"] for file in files))
    return found


def _needed(package: dict[str, Any], extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    needed = list(package.get("dependencies", ()))
    for extra in extras:
        needed += package.get("optional-dependencies", {}).get(extra, ())
    for one in needed:
        yield one["name"], set(one.get("extra", ()))
