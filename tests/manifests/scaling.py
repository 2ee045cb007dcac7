"""How many pods there are, and who may change that."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache

from gateway.settings import Settings
from gateway.sockets.outbox import AT_ONCE_BYTES
from tests.manifests.pods import quantity
from tests.manifests.reading import ROOT, Manifest, World, name, namespace
from tests.manifests.running import environment

SLOWLY_S = 300
"""How long a crowd must have been gone, at least, before pods go."""

EMPTY = 64 * 2**20
"""Bytes of a gateway before anybody has come."""
VIEWER = 17 * 2**10
"""Bytes of one who waits."""


def kept_by_the_system(send_buffer: int) -> int:
    """Bytes Linux takes for a peer that does not read: it doubles what was set, for what it counts
    is its own memory, and takes whole pages of 4 KiB (measured: 132 KiB of 64)."""
    return 2 * send_buffer + 4_096


@cache
def metrics() -> frozenset[str]:
    """The names of the gauges that ``gateway.metrics`` makes, read in its source: the first word of
    every call of something named after a gauge. That they are told is tested with the image."""
    room = ROOT / "gateway" / "metrics"
    sources = room.glob("*.py") if room.is_dir() else [room.with_suffix(".py")]
    return frozenset(
        call.args[0].value
        for source in sources
        for call in ast.walk(ast.parse(source.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id.lower().startswith("gauge")
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    )


def by_a_number_that_exists(world: World) -> Iterator[str]:
    """An autoscaler's target is there and leaves the number to it; what it looks at is a metric of
    ours, and it adds pods before one is full."""
    for scaler in world.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        target = world.named(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
        if target is None or "replicas" in target["spec"]:
            yield f"{name(scaler)}: its target is not there, or says how many it wants to be"
            continue
        container = target["spec"]["template"]["spec"]["containers"][0]
        most = int(environment(world, container)["HOLDFAST_SOCKETS"])
        for metric in spec["metrics"]:
            wanted = metric["pods"]["metric"]["name"]
            if wanted not in metrics():
                yield f"{name(scaler)}: the gateway has no metric {wanted}"
            if int(metric["pods"]["target"]["averageValue"]) >= most:
                yield f"{name(scaler)}: a pod is full with {most} before another one is added"


def up_at_once_and_down_slowly(world: World) -> Iterator[str]:
    """A crowd comes in seconds; pods that go send theirs elsewhere."""
    for scaler in world.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        behavior = spec.get("behavior", {})
        if behavior.get("scaleUp", {}).get("stabilizationWindowSeconds") != 0:
            yield f"{name(scaler)} waits before it adds pods"
        if behavior.get("scaleDown", {}).get("stabilizationWindowSeconds", 0) < SLOWLY_S:
            yield f"{name(scaler)} takes pods away too soon"
        if not 2 <= spec.get("minReplicas", 1) < spec["maxReplicas"]:
            yield f"{name(scaler)} may leave one pod alone"


def before_a_drop(world: World) -> Iterator[str]:
    """The jobs that raise and lower the least number of pods stay within the autoscaler's own."""
    for job in world.of("CronJob"):
        [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        arguments: list[str] = container["args"]
        kind, _, wanted = arguments[1].partition("/")
        scaler = world.named("HorizontalPodAutoscaler", wanted)
        if kind != "horizontalpodautoscaler" or scaler is None:
            yield f"{name(job)} patches {arguments[1]}, which is not there"
            continue
        patch = json.loads(arguments[-1].removeprefix("--patch="))
        if patch.keys() != {"spec"} or patch["spec"].keys() != {"minReplicas"}:
            yield f"{name(job)} changes more than minReplicas"
            continue
        least, own = patch["spec"]["minReplicas"], scaler["spec"]["minReplicas"]
        good = least == own if name(job).endswith("down") else least > own
        if not good or least > scaler["spec"]["maxReplicas"]:
            yield f"{name(job)} asks for {least} pods; the autoscaler itself for {own} at least"


def with_the_least_rights(world: World) -> Iterator[str]:
    """A role names its objects and its verbs, and is given to an account that is there."""
    for role in world.of("Role", "ClusterRole"):
        for rule in role["rules"]:
            if not rule.get("resourceNames") or not {"get", "patch"} >= set(rule["verbs"]):
                yield f"{name(role)} allows more than to get and patch objects it names"
            yield from _missing(world, role, rule)
    for binding in world.of("RoleBinding"):
        for wanted in (binding["roleRef"], *binding["subjects"]):
            if world.named(wanted["kind"], wanted["name"]) is None:
                yield f"{name(binding)}: there is no {wanted['kind']} {wanted['name']}"
            if wanted.get("namespace", namespace(binding)) != namespace(binding):
                yield f"{name(binding)} is for another namespace"


def _missing(world: World, role: Manifest, rule: Manifest) -> Iterator[str]:
    """Objects a role is for that are not there."""
    there = {(one["kind"].lower() + "s", one["metadata"]["name"]) for one in world.documents}
    for resource in rule["resources"]:
        for wanted in rule.get("resourceNames", ()):
            if (resource, wanted) not in there:
                yield f"{name(role)} is for {resource} {wanted}, which is not there"


def a_load_of_one_mind(world: World) -> Iterator[str]:
    """Master and workers of a load are told the same, and there are as many as it waits for."""
    master, workers = world.named("Job", "load-master"), world.named("Job", "load-workers")
    if master is None or workers is None:
        return
    told = [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in (master, workers)]
    if f"--expect-workers={workers['spec']['parallelism']}" not in told[0]:
        yield f"{name(master)} waits for another number of workers"
    if f"--master-host={master['metadata']['name']}" not in told[1]:
        yield f"{name(workers)} look for another master"
    alone = re.compile("--master|--worker|--expect-workers")
    played = [[word for word in words if not alone.match(word)] for words in told]
    if played[0] != played[1]:
        yield f"{name(master)} and its workers play different loads"


def with_room_for_peers_that_do_not_read(world: World) -> Iterator[str]:
    """A gateway is below its limit of memory even if none of its sockets' peers reads."""
    for pod in world.pods():
        [container, *_] = pod.containers
        if container.get("args") != ["serve"]:
            continue
        told = environment(world, container)
        sockets = int(told.get("HOLDFAST_SOCKETS", Settings().sockets))
        buffer = int(told.get("HOLDFAST_SEND_BUFFER_BYTES", Settings().send_buffer_bytes))
        a_socket = VIEWER + kept_by_the_system(buffer) + AT_ONCE_BYTES
        needed = EMPTY + sockets * a_socket
        limit = quantity(container["resources"].get("limits", {}).get("memory", "0"))
        if limit < needed:
            yield f"{pod.name} may need {needed / 2**20:.0f} MiB, and is killed at {limit / 2**20}"


CHECKS = (
    with_room_for_peers_that_do_not_read,
    a_load_of_one_mind,
    by_a_number_that_exists,
    up_at_once_and_down_slowly,
    before_a_drop,
    with_the_least_rights,
)
