"""What our processes are told and how they are started and ended: true to the code itself."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from urllib.parse import urlsplit

from gateway.__main__ import _COMMANDS
from gateway.environment import read
from gateway.settings import HIDDEN, Settings, SettingsError, variable
from tests.manifests.reading import ROOT, Manifest, Pod, World, name

OURS = "holdfast"
MARGIN_S = 15
"""Between the end of the drain and SIGKILL. A process takes 2 s after SIGTERM; the rest is for a
node that is busy, where what counts is nobody's payment cut off."""

_PLACEHOLDERS = {"holdfast", "holdfast-load", "valkey", "kubectl"}
_OUTSIDE = {"holdfast-secrets", "holdfast-tls", "load-keys"}
"""Secrets that production is given by hand."""
DUMMIES = {
    "secret": "0" * 32,
    "stripe_api_key": "sk_test_0123456789",
    "stripe_webhook_secret": "whsec_0123456789",
    "redis_url": "redis://valkey:6379/0",
    "claims_url": "postgresql://claims@postgres/claims",
}
_NEEDS = {
    "serve": ("secret", "stripe_api_key", "stripe_webhook_secret"),
    "sweep": ("stripe_api_key",),
}


def ours(world: World) -> Iterator[tuple[Pod, Manifest]]:
    """Our own containers, with their pods."""
    for pod in world.pods():
        for container in pod.containers:
            if _is_ours(container["image"]):
                yield pod, container


def _is_ours(image: str) -> bool:
    return image.rpartition("/")[2].partition(":")[0] == OURS


def environment(world: World, container: Manifest) -> dict[str, str]:
    """The variables a container sees; those of its own win."""
    found: dict[str, str] = {}
    for source in _settings(container):
        if settings := world.named("ConfigMap", source):
            found |= settings["data"]
    return found | {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def _settings(container: Manifest) -> list[str]:
    """The config maps it is told all of."""
    sources = container.get("envFrom", ())
    return [source["configMapRef"]["name"] for source in sources if "configMapRef" in source]


def told_what_it_understands(world: World) -> Iterator[str]:
    """Every variable is a setting, and every value one that is accepted."""
    files = {f"{variable(field)}_FILE": field for field in HIDDEN}
    known = {variable(field) for field in Settings.__struct_fields__} | files.keys()
    for pod, container in ours(world):
        told = environment(world, container)
        for unknown in sorted(told.keys() - known):
            yield f"{pod.name}: {unknown} is not a setting"
        plain = {one: value for one, value in told.items() if one in known and one not in files}
        plain |= {variable(field): DUMMIES[field] for one, field in files.items() if one in told}
        try:
            read(plain, _NEEDS.get(container.get("args", [""])[0], ()))
        except SettingsError as error:
            yield f"{pod.name}: {error}"


def given_secrets_as_files(world: World) -> Iterator[str]:
    """No secret is in an environment, which children inherit and crash reports show; every file
    that is named is there."""
    for pod in world.pods():
        for container in pod.containers:
            for source in (*container.get("envFrom", ()), *container.get("env", ())):
                if "secretRef" in source or "secretKeyRef" in source.get("valueFrom", ()):
                    yield f"{pod.name} has a secret in its environment"
            mounted = _mounted(pod, container)
            for told, path in environment(world, container).items():
                if told.endswith("_FILE") and path not in mounted:
                    yield f"{pod.name}: no secret is mounted at {path}"


def _mounted(pod: Pod, container: Manifest) -> set[str]:
    """The files a container has of secrets."""
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
    return {
        f"{mount['mountPath']}/{item['path']}"
        for mount in container.get("volumeMounts", ())
        for item in volumes.get(mount["name"], {}).get("secret", {}).get("items", ())
    }


def given_what_is_there(world: World) -> Iterator[str]:
    """Config maps and secrets that a pod names exist, with the keys it takes of them."""
    for pod in world.pods():
        for container in pod.containers:
            for wanted in _settings(container):
                if not world.named("ConfigMap", wanted):
                    yield f"{pod.name}: there is no config map {wanted}"
        for volume in pod.spec.get("volumes", ()):
            if secret := volume.get("secret"):
                yield from _keys(world, pod, secret)


def _keys(world: World, pod: Pod, wanted: Manifest) -> Iterator[str]:
    secret = world.named("Secret", wanted["secretName"])
    if secret is None:
        if wanted["secretName"] not in _OUTSIDE:
            yield f"{pod.name}: there is no secret {wanted['secretName']}"
        return
    for item in wanted["items"]:
        if item["key"] not in secret["data"]:
            yield f"{pod.name}: {name(secret)} has no key {item['key']}"


def listening_where_it_says(world: World) -> Iterator[str]:
    """The ports of a container are those its settings name, on every address of the pod."""
    for pod, container in ours(world):
        if container.get("command"):
            continue  # Not the gateway's own command line.
        told = environment(world, container)
        wanted = {"ops": told.get("HOLDFAST_METRICS_PORT")}
        if container["args"] == ["serve"]:
            wanted["http"] = told.get("HOLDFAST_PORT", str(Settings().port))
        has = {port["name"]: str(port["containerPort"]) for port in container.get("ports", ())}
        if has != wanted:
            yield f"{pod.name} has the ports {has}; its settings say {wanted}"
        if told.get("HOLDFAST_HOST") != "0.0.0.0":
            yield f"{pod.name} listens to nobody but itself"


def started_by_what_exists(world: World) -> Iterator[str]:
    """What is run is a command of ``holdfast``, or a module of it."""
    for pod, container in ours(world):
        command = container.get("command", [])
        if command[:2] == ["python", "-m"]:
            if importlib.util.find_spec(command[2]) is None:
                yield f"{pod.name}: there is no module {command[2]}"
        elif command or container["args"][0] not in _COMMANDS:
            yield f"{pod.name}: {[*command, *container['args']]} is no command of holdfast"
        for word in commands_before_the_end(container):
            if word not in _COMMANDS:
                yield f"{pod.name}: before it ends it runs `holdfast {word}`, which does not exist"


def before_the_end(container: Manifest) -> str:
    """What is run before SIGTERM, as one line of a shell."""
    hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    return hook[2] if hook[:2] == ["sh", "-c"] else shlex.join(hook)


def commands_before_the_end(container: Manifest) -> list[str]:
    """The commands of ``holdfast`` in it."""
    return re.findall(r"\bholdfast (\w+)", before_the_end(container))


def ended_in_time(world: World) -> Iterator[str]:
    """A pod has the time its end takes: the pause before the drain, the drain, and the margin."""
    for pod, container in ours(world):
        told = environment(world, container)
        pause_s = sum(
            int(found) for found in re.findall(r"\bsleep (\d+)", before_the_end(container))
        )
        drain_s = 0
        if container.get("args") == ["serve"]:
            drain_s = int(told.get("HOLDFAST_DRAIN_S", Settings().drain_s))
            if commands_before_the_end(container) != ["drain"] or not pause_s:
                yield f"{pod.name} does not drain before it ends, or sends nobody elsewhere before"
        needed_s, given_s = (
            pause_s + drain_s + MARGIN_S,
            pod.spec.get("terminationGracePeriodSeconds", 30),
        )
        if given_s < needed_s:
            yield f"{pod.name} is killed after {given_s} s; its end may take {needed_s} s"


def of_a_named_version(world: World) -> Iterator[str]:
    """Every image has a version, and ours is that of the project."""
    for pod in world.pods():
        for container in pod.containers:
            image = container["image"]
            if world.images:
                if image not in _PLACEHOLDERS or image not in world.images:
                    yield f"{pod.name}: {image} is no image that the overlay names"
                    continue
                image = world.images[image]
            base, _, tag = image.rpartition(":")
            if not base or "/" in tag or tag == "latest":
                yield f"{pod.name}: {image} has no version"
            elif base.rsplit("/", 1)[-1].startswith(OURS) and tag != _version():
                yield f"{pod.name}: {image} is not version {_version()}"


def with_a_sandbox_that_browsers_find(world: World) -> Iterator[str]:
    """Names of a cluster are known inside it alone: the page's way to a sandbox there is another,
    on this machine, which is forwarded to the sandbox's port."""
    for pod, container in ours(world):
        told = environment(world, container)
        inside = urlsplit(told.get("HOLDFAST_STRIPE_URL", ""))
        outside = urlsplit(told.get("HOLDFAST_SANDBOX_URL", ""))
        if world.named("Service", inside.hostname or "") is None:
            continue
        if (outside.hostname, outside.port) != ("localhost", inside.port):
            yield f"{pod.name}: no browser finds the sandbox at {inside.geturl()}"


def keeps_what_was_sold(world: World) -> Iterator[str]:
    """A Valkey of ours has each write on its disk before it answers, and throws nothing away."""
    for pod in world.pods():
        words = pod.containers[0].get("command", [""])
        if words[0] == "valkey-server":
            given = dict(zip(words[1::2], words[2::2], strict=True))
            wanted = {
                "--appendonly": "yes",
                "--appendfsync": "always",
                "--maxmemory-policy": "noeviction",
            }
            if not wanted.items() <= given.items():
                yield f"{pod.name} may lose what was sold"


@cache
def _version() -> str:
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


CHECKS = (
    given_secrets_as_files,
    told_what_it_understands,
    given_what_is_there,
    listening_where_it_says,
    started_by_what_exists,
    ended_in_time,
    of_a_named_version,
    with_a_sandbox_that_browsers_find,
    keeps_what_was_sold,
)
