"""Strict schemas: a field that Kubernetes does not know is a mistake, for it would ignore it.

Kinds of Kubernetes itself are checked against its published schemas; those of others, and of
kustomize, against the part of theirs that we use.
"""

from collections.abc import Iterator
from typing import Any, Literal

import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
from kubernetes_validate import utils
from msgspec import Struct

from tests.manifests.reading import Manifest, name

VERSIONS: list[str] = utils.all_versions()[-4:]
"""The newest minor versions; as many as are maintained at once, and the next."""


class _Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    pass


class _Metadata(_Strict):
    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Selector(_Strict):
    match_labels: dict[str, str]


class _Endpoint(_Strict):
    port: str
    path: str
    interval: str


class _Scrape(_Strict):
    selector: _Selector
    endpoints: list[_Endpoint]


class _ServiceMonitor(_Strict, tag_field="kind", tag="ServiceMonitor"):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: _Metadata
    spec: _Scrape


class _Rule(_Strict):
    expr: str
    alert: str | None = None
    record: str | None = None
    for_: str | None = msgspec.field(name="for", default=None)
    keep_firing_for: str | None = msgspec.field(name="keep_firing_for", default=None)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Group(_Strict):
    name: str
    rules: list[_Rule]
    interval: str | None = None


class _Groups(_Strict):
    groups: list[_Group]


class _PrometheusRule(_Strict, tag_field="kind", tag="PrometheusRule"):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: _Metadata
    spec: _Groups


class _Image(_Strict):
    name: str
    new_tag: str
    new_name: str | None = None


class _LabelPairs(_Strict):
    pairs: dict[str, str]
    include_templates: bool = False
    include_selectors: bool = False


class _GeneratorOptions(_Strict):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    disable_name_suffix_hash: bool = False


class _Generator(_Strict):
    name: str
    literals: list[str] = []
    files: list[str] = []
    behavior: Literal["create", "replace", "merge"] = "create"
    namespace: str | None = None
    options: _GeneratorOptions | None = None


class _Target(_Strict):
    kind: str
    name: str | None = None


class _Patch(_Strict):
    patch: str
    target: _Target


class _Kustomization(_Strict, tag_field="kind", tag="Kustomization"):
    api_version: Literal["kustomize.config.k8s.io/v1beta1"]
    resources: list[str] = []
    namespace: str | None = None
    labels: list[_LabelPairs] = []
    images: list[_Image] = []
    config_map_generator: list[_Generator] = []
    secret_generator: list[_Generator] = []
    generator_options: _GeneratorOptions | None = None
    patches: list[_Patch] = []


_Ours = _ServiceMonitor | _PrometheusRule | _Kustomization
_OURS = {"ServiceMonitor", "PrometheusRule", "Kustomization"}


def complaints(document: Manifest, versions: list[str] = VERSIONS) -> Iterator[str]:
    """What is wrong with one document by its schema, in each version of Kubernetes."""
    kind = document.get("kind")
    if kind in _OURS:
        try:
            msgspec.convert(document, _Ours)
        except msgspec.ValidationError as error:
            yield f"{kind}: {error}"
        return
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as no:
            yield f"{name(document)}, Kubernetes {version}: {_path(no)}{no.message}"


def _path(error: Any) -> str:
    return "".join(f"{step}." for step in getattr(error, "path", ())).rstrip(".") + ": "
