"""What we stand on: locked with hashes, as the project says, and listed by one command."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / ".github" / "CONTRIBUTING.md"
SBOM = r"`(?:\.venv/bin/)?uv (export [^`]*cyclonedx[^`]*)`"
REGISTRY = "https://pypi.org/simple"

Package = dict[str, Any]


def locked() -> dict[str, Package]:
    """Every package of the lock but the project itself."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return {package["name"]: package for package in packages if package["name"] != "holdfast"}


@pytest.fixture(scope="module")
def uv() -> str:
    beside = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    if not beside:
        pytest.skip("uv is not installed")
    return beside


def run(uv: str, *words: str) -> str:
    return subprocess.run(
        [uv, *words, "--offline"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_every_file_that_would_be_installed_has_a_hash() -> None:
    packages = locked()
    assert len(packages) > 50
    for name, package in packages.items():
        assert package["source"] == {"registry": REGISTRY}, name
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files), name


def test_the_readme_says_once_where_its_commands_are_and_types_them_so_from_there() -> None:
    before, said, after = (ROOT / "README.md").read_text().partition(". .venv/bin/activate")
    assert said
    assert before.count(".venv/bin/pip install") == 2
    assert ".venv/bin" not in after


def test_what_is_listed_is_what_the_image_installs() -> None:
    image = (ROOT / "k8s" / "image" / "requirements.txt").read_text().splitlines()[1]
    extras = r"--extra (\w+)"
    for page in (GUIDE, ROOT / "README.md"):
        [command] = re.findall(SBOM, page.read_text())
        assert re.findall(extras, command) == re.findall(extras, image) != [], page


def test_one_command_lists_what_an_installation_is_made_of(uv: str) -> None:
    [command] = re.findall(SBOM, GUIDE.read_text())
    listed = json.loads(run(uv, *command.partition(" > ")[0].split()))
    assert (listed["bomFormat"], listed["metadata"]["component"]["name"]) == (
        "CycloneDX",
        "holdfast",
    )
    packages, components = locked(), listed["components"]
    assert {"starlette", "redis", "psycopg", "opentelemetry-sdk", "h11"} <= {
        one["name"] for one in components
    }
    assert "pytest" not in {one["name"] for one in components}
    for one in components:
        assert one["version"] == packages[one["name"]]["version"]
        assert one["purl"].startswith(f"pkg:pypi/{one['name']}@{one['version']}")
        files = [
            reference
            for reference in one["externalReferences"]
            if reference["type"] == "distribution"
        ]
        assert files
        assert all(file["hashes"][0]["alg"] == "SHA-256" for file in files)
