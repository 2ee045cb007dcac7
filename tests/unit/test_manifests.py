"""The manifests of ``k8s/``: strictly valid, and as our policies want them.

Files as they are written are checked everywhere; overlays as kustomize builds them where it is.
That each check can fail is shown in ``test_manifest_controls.py``.
"""

import functools
import socket
import sys
from collections.abc import Iterator

import pytest
from kubernetes_validate import utils  # type: ignore[import-untyped]

from gateway.settings import Settings
from tests.manifests import pods, running, scaling, schemas, traffic
from tests.manifests.reading import K8S, OVERLAYS, World, built, files, joined, name, read

CHECKS = (*pods.CHECKS, *traffic.CHECKS, *running.CHECKS, *scaling.CHECKS)

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """Each is megabytes of JSON, and would be read for every document."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


def test_there_are_manifests_and_overlays() -> None:
    assert len(files()) > 30
    assert {"local", "production", "load"} <= set(OVERLAYS)


def test_every_file_is_strictly_valid_in_every_version_that_is_maintained() -> None:
    found = [
        f"{path.relative_to(K8S)}: {complaint}"
        for path in files()
        for document in read(path)
        for complaint in schemas.complaints(document)
    ]
    assert found == []


def test_every_file_is_of_one_kind_and_said_to_be_applied() -> None:
    several = [str(path) for path in files() if len({one["kind"] for one in read(path)}) != 1]
    assert several == []
    named = {
        (path.parent / resource).resolve()
        for path in files()
        if path.name == "kustomization.yaml"
        for resource in read(path)[0].get("resources", ())
    }
    applied = {*K8S.glob("base/**/*.yaml"), *K8S.glob("overlays/**/*.yaml")}
    orphans = [path for path in applied - named if path.name != "kustomization.yaml"]
    assert orphans == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count buffers otherwise")
def test_linux_takes_twice_what_is_set_for_a_peer_that_does_not_read() -> None:
    set_to = Settings().send_buffer_bytes
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, set_to)
        bound = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert set_to < bound <= scaling.kept_by_the_system(set_to)


@every_overlay
def test_an_overlay_says_its_reason_first(overlay: str) -> None:
    assert (K8S / "overlays" / overlay / "kustomization.yaml").read_text().startswith("# ")


@every_overlay
def test_an_overlay_as_it_is_built_is_strictly_valid(overlay: str) -> None:
    found = [one for document in built(overlay).documents for one in schemas.complaints(document)]
    assert found == []


@every_overlay
def test_an_overlay_as_it_is_written_keeps_every_policy(overlay: str) -> None:
    world = joined(overlay)
    assert [complaint for check in CHECKS for complaint in check(world)] == []


@pytest.mark.parametrize("loaded", [one for one in OVERLAYS if one != "load"])
def test_the_load_reaches_whatever_it_is_beside(loaded: str) -> None:
    world = joined(loaded, "load")
    assert [complaint for check in CHECKS for complaint in check(world)] == []


@every_overlay
def test_an_overlay_as_it_is_built_keeps_every_policy(overlay: str) -> None:
    world = built(overlay)
    assert [complaint for check in CHECKS for complaint in check(world)] == []


@every_overlay
def test_what_is_joined_here_is_what_kustomize_builds(overlay: str) -> None:
    def names(world: World) -> list[str]:
        # Generated ones end in a hash of what they hold.
        generated = ("ConfigMap", "Secret")
        return sorted(
            one["kind"] if one["kind"] in generated else name(one) for one in world.documents
        )

    assert names(joined(overlay)) == names(built(overlay))
