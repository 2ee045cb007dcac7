"""The image as its Dockerfile says it: locked, without rights, true to the manifests.

What its commands do is tried in ``tests/acceptance/test_image.py``.
"""

import fnmatch
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from gateway.environment import read
from tests.manifests.dockerfile import IMAGE, instructions, locked, of, pins, variables
from tests.manifests.reading import ROOT, joined
from tests.manifests.running import ours

LISTS = {"requirements.txt": {"strict", "otel"}, "requirements-load.txt": {"load"}}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_installed_is_what_the_lock_file_says(name: str) -> None:
    text = (IMAGE / name).read_text()
    [command] = re.findall(r"uv export .*", text.split("\n\n")[0])
    assert set(re.findall(r"--extra (\w+)", command)) == LISTS[name]
    assert pins(text) == locked(LISTS[name])


def test_a_version_or_a_hash_of_its_own_would_be_noticed() -> None:
    text = (IMAGE / "requirements.txt").read_text()
    wanted = locked(LISTS["requirements.txt"])
    [version] = re.findall(r"^uvicorn==(\S+)", text, re.MULTILINE)
    assert pins(text.replace(f"uvicorn=={version}", "uvicorn==0.1")) != wanted
    first = re.findall(r"sha256:\w{64}", text)[0]
    assert pins(text.replace(first, "sha256:" + "0" * 64)) != wanted
    assert locked({"strict"}) != wanted


def test_the_tools_that_build_the_wheel_are_pinned_and_enough() -> None:
    there = pins((IMAGE / "build.txt").read_text())
    assert all(hashes for _, hashes in there.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for line in project["build-system"]["requires"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(there[wanted.name][0])


def test_nothing_is_installed_without_its_hash() -> None:
    installs = [one.rest for one in instructions() if "pip install" in one.rest]
    assert len(installs) == 4
    for command in installs:
        from_outside = "-r " in command
        assert ("--require-hashes" in command) == from_outside, command
        assert ("--no-deps" in command) != from_outside, command


def test_where_packages_come_from_is_the_builders_business() -> None:
    for path in IMAGE.iterdir():
        addresses = re.findall(r"\w+://[^/'\s]*", path.read_text())
        assert set(addresses) <= {"http://127.0.0.1:"}, path


def test_the_last_stage_is_the_gateway_and_runs_without_rights() -> None:
    last = instructions()[-1].stage
    assert last == "holdfast"
    [user] = of(last, "USER")
    [entry] = of(last, "ENTRYPOINT")
    assert entry.words == ["holdfast"]
    assert of(last, "HEALTHCHECK")
    exposed = {int(word) for one in of(last, "EXPOSE") for word in one.words}
    for pod, container in ours(joined("production")):
        context = pod.spec["securityContext"]
        assert user.rest == f"{context['runAsUser']}:{context['runAsGroup']}"
        assert {port["containerPort"] for port in container["ports"]} <= exposed


def test_what_the_image_sets_is_a_setting() -> None:
    told = {
        name: value
        for name, value in variables("holdfast", "").items()
        if name.startswith("HOLDFAST_")
    }
    settings = read(told, needs=())
    assert (settings.host, settings.port, settings.metrics_port) == ("0.0.0.0", 8080, 9090)


def test_what_is_copied_is_there_and_sent_to_the_builder() -> None:
    lines = (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    for one in instructions():
        if one.word == "COPY" and "--from" not in one.rest:
            for source in one.words[:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch.fnmatch(source, pattern) for pattern in sent), source
