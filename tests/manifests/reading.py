"""The manifests under ``k8s/``: as they are written, and as an overlay joins them.

``build`` has kustomize do it, as whoever applies them does. ``join`` does as much of it as the
policies need (resources, namespace, labels, generated names), so that they are kept on a machine
without kustomize, too; where there is one, a test compares the two.
"""

import copy
import functools
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
RUNBOOK_ANCHORS = [
    "scale-for-a-drop",
    "drain-a-pod",
    "redis-failed-over",
    "stripe-is-down",
    "pos-is-down",
    "stock-is-wrong",
    "under-attack",
]
"""Of the runbook's entries, in order; each has an alert that leads to it."""

Manifest = dict[str, Any]

_WITHOUT_NAMESPACE = {"Namespace"}
_WITH_TEMPLATE = {"Deployment", "StatefulSet", "Job", "CronJob"}


def files() -> list[Path]:
    """Every YAML file of ``k8s/``."""
    return sorted((*K8S.rglob("*.yaml"), *K8S.rglob("*.yml")))


def read(path: Path) -> list[Manifest]:
    """The documents of a file; the caller may change them."""
    return copy.deepcopy(_read(path))


@functools.cache
def _read(path: Path) -> list[Manifest]:
    return _parse(path.read_text())


def _parse(text: str) -> list[Manifest]:
    return [document for document in yaml.load_all(text, _LOADER) if document]


# The loader in C reads the same, ten times as fast; not every build of the library has it.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def name(document: Manifest) -> str:
    """How a complaint names it."""
    return f"{document['kind']} {document['metadata']['name']}"


def labels(document: Manifest) -> dict[str, str]:
    """Its own labels."""
    found: dict[str, str] = document["metadata"].get("labels", {})
    return found


def namespace(document: Manifest) -> str:
    """Where it is."""
    found: str = document["metadata"].get("namespace", "")
    return found


def template(document: Manifest) -> Manifest | None:
    """The pod that a workload makes, if it is one."""
    if document["kind"] not in _WITH_TEMPLATE:
        return None
    spec = document["spec"]
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: Manifest = spec["template"]
    return found


@dataclass(frozen=True, slots=True)
class Pod:
    """What a workload runs."""

    workload: Manifest
    labels: dict[str, str]
    spec: Manifest

    @property
    def name(self) -> str:
        return name(self.workload)

    @property
    def containers(self) -> list[Manifest]:
        """All of them, those that run first included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Its ports by name."""
        return {
            port["name"]: port["containerPort"]
            for container in self.containers
            for port in container.get("ports", ())
        }

    def has_port(self, port: int | str) -> bool:
        """Whether it listens there, by name or by number."""
        return port in self.ports or port in self.ports.values()


@dataclass(frozen=True, slots=True)
class World:
    """What one overlay applies."""

    documents: list[Manifest]
    images: dict[str, str] = field(default_factory=dict)
    """What the placeholders of images stand for; empty once they are replaced."""

    def of(self, *kinds: str) -> Iterator[Manifest]:
        """The documents of these kinds."""
        return (document for document in self.documents if document["kind"] in kinds)

    def named(self, kind: str, wanted: str) -> Manifest | None:
        """The document of that name; generated ones by the name as it is written there."""
        found = (one for one in self.of(kind) if one["metadata"]["name"] == wanted)
        return next(found, None)

    def pods(self) -> Iterator[Pod]:
        """What all workloads run."""
        for document in self.documents:
            if made := template(document):
                yield Pod(document, made["metadata"].get("labels", {}), made["spec"])

    def selected(self, selector: Manifest, at: str) -> list[Pod]:
        """The pods of a namespace that a label selector selects."""
        return [
            pod
            for pod in self.pods()
            if namespace(pod.workload) == at and selects(selector, pod.labels)
        ]


def selects(selector: Manifest, given: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= given.items() and all(
        _expressed(expression, given) for expression in selector.get("matchExpressions", ())
    )


def _expressed(expression: Manifest, given: dict[str, str]) -> bool:
    value, values = given.get(expression["key"]), expression.get("values", ())
    outcomes = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return outcomes[expression["operator"]]


def built(overlay: str) -> World:
    """An overlay as kustomize builds it; the caller may change it."""
    return World(copy.deepcopy(_built(overlay)))


@functools.cache
def _built(overlay: str) -> list[Manifest]:
    command = _kustomize()
    if command is None:
        pytest.skip("there is neither kubectl nor kustomize here to build overlays with")
    done = subprocess.run(
        [*command, K8S / "overlays" / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # A warning is about something that will stop working.
    return _parse(done.stdout)


def _kustomize() -> list[str] | None:
    if found := shutil.which("kubectl"):
        return [found, "kustomize"]
    if found := shutil.which("kustomize"):
        return [found, "build"]
    return None


def joined(*overlays: str) -> World:
    """Overlays from their files alone, without patches, several as if they were applied to one
    cluster; the caller may change it."""
    world = World([])
    for overlay in overlays:
        folder = K8S / "overlays" / overlay
        world.documents.extend(_joined(folder))
        world.images.update(_images(folder))
    return world


def _joined(folder: Path) -> Iterable[Manifest]:
    [kustomization] = read(folder / "kustomization.yaml")
    documents: list[Manifest] = []
    for resource in kustomization.get("resources", ()):
        path = folder / resource
        documents += _joined(path) if path.is_dir() else read(path)
    for kind, key in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for generator in kustomization.get(key, ()):
            _generate(documents, kind, generator)
    for document in documents:
        if "namespace" in kustomization and document["kind"] not in _WITHOUT_NAMESPACE:
            document["metadata"]["namespace"] = kustomization["namespace"]
        for pair in kustomization.get("labels", ()):
            for labelled in (
                document,
                template(document) if pair.get("includeTemplates") else None,
            ):
                if labelled:
                    labelled["metadata"].setdefault("labels", {}).update(pair["pairs"])
    return documents


def _generate(documents: list[Manifest], kind: str, generator: Manifest) -> None:
    data = dict(literal.split("=", 1) for literal in generator.get("literals", ()))
    data |= dict.fromkeys(generator.get("files", ()), "")
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == (kind, generator["name"]):
            document["data"] |= data
            return
    documents.append(
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": generator["name"]}, "data": data}
    )


def _images(folder: Path) -> dict[str, str]:
    [kustomization] = read(folder / "kustomization.yaml")
    return {
        image["name"]: f"{image.get('newName', image['name'])}:{image['newTag']}"
        for image in kustomization.get("images", ())
    }
