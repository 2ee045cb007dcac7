"""Each check of the manifests can fail: what is spoilt here must be complained of, by name.

A check that nothing here can make complain is a failure, too.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gateway.settings import HIDDEN
from tests.manifests import pods, running, scaling, schemas, traffic
from tests.manifests.reading import K8S, Manifest, World, joined, read, template

CHECKS = (*pods.CHECKS, *traffic.CHECKS, *running.CHECKS, *scaling.CHECKS)
DRAIN_S = 60
NEWEST = schemas.VERSIONS[-1:]

Spoil = Callable[[World], Any]


def the(world: World, kind: str, name: str) -> Manifest:
    found = world.named(kind, name)
    assert found is not None
    return found


def spec(world: World, name: str = "gateway", kind: str = "Deployment") -> Manifest:
    """The pod of a workload."""
    made = template(the(world, kind, name))
    assert made is not None
    found: Manifest = made["spec"]
    return found


def container(world: World, name: str = "gateway", kind: str = "Deployment") -> Manifest:
    found: Manifest = spec(world, name, kind)["containers"][0]
    return found


def tell(world: World, variable: str, value: str, name: str = "gateway") -> None:
    """Set a variable, another one than before or the same."""
    env = container(world, name)["env"]
    env[:] = [one for one in env if one["name"] != variable]
    env.append({"name": variable, "value": value})


def scaler(world: World) -> Manifest:
    found: Manifest = the(world, "HorizontalPodAutoscaler", "gateway")["spec"]
    return found


def policy(world: World, name: str) -> Manifest:
    found: Manifest = the(world, "NetworkPolicy", name)["spec"]
    return found


def remove(world: World, kind: str, name: str) -> None:
    world.documents.remove(the(world, kind, name))


def job(world: World) -> Manifest:
    found: Manifest = the(world, "CronJob", "prescale-up")["spec"]
    return found


PODS: dict[str, Spoil] = {
    "does not enforce": lambda w: the(w, "Namespace", "holdfast")["metadata"].pop("labels"),
    "may run as root": lambda w: spec(w)["securityContext"].update(runAsNonRoot=False),
    "has no seccomp": lambda w: spec(w)["securityContext"].pop("seccompProfile"),
    "shares its node": lambda w: spec(w).update(hostNetwork=True),
    "mounts its node's": lambda w: spec(w)["volumes"].append({"name": "a", "hostPath": {}}),
    "may gain rights": lambda w: container(w)["securityContext"].pop("allowPrivilegeEscalation"),
    "may write to its root": lambda w: container(w)["securityContext"].update(
        readOnlyRootFilesystem=False
    ),
    "keeps capabilities": lambda w: container(w)["securityContext"].pop("capabilities"),
    "runs as root": lambda w: container(w)["securityContext"].update(runAsUser=0),
    "not have a token": lambda w: spec(w).pop("automountServiceAccountToken"),
    "named after services": lambda w: spec(w).pop("enableServiceLinks"),
    "has 2 containers": lambda w: spec(w)["containers"].append(copy.deepcopy(container(w))),
    "no limit of memory": lambda w: container(w)["resources"]["limits"].pop("memory"),
    "more cpu than its limit": lambda w: container(w)["resources"]["requests"].update(cpu="2500m"),
    "may fill the node's disk": lambda w: spec(w)["volumes"].append({"name": "a", "emptyDir": {}}),
    "has no livenessProbe": lambda w: container(w).pop("livenessProbe"),
    "asks at port opps": lambda w: container(w)["readinessProbe"]["httpGet"].update(port="opps"),
    "asks for /ready": lambda w: container(w)["readinessProbe"]["httpGet"].update(path="/ready"),
    "not select its own": lambda w: the(w, "Deployment", "relay")["spec"]["selector"].update(
        matchLabels={"app.kubernetes.io/name": "relai"}
    ),
    "spread by pods": lambda w: spec(w)["topologySpreadConstraints"][0]["labelSelector"].update(
        matchLabels={"app.kubernetes.io/name": "relay"}
    ),
    "not spread over": lambda w: spec(w)["topologySpreadConstraints"].pop(),
    "drops below its capacity": lambda w: the(w, "Deployment", "gateway")["spec"]["strategy"][
        "rollingUpdate"
    ].update(maxUnavailable=1),
    "no disruption budget": lambda w: remove(w, "PodDisruptionBudget", "relay"),
    "is for no pod": lambda w: the(w, "PodDisruptionBudget", "relay")["spec"].update(
        selector={"matchLabels": {"app.kubernetes.io/name": "relai"}}
    ),
    "is not suspended": lambda w: job(w).update(suspend=False),
    "go on for ever": lambda w: job(w)["jobTemplate"]["spec"].pop("activeDeadlineSeconds"),
}

TRAFFIC: dict[str, Spoil] = {
    "selects no pod": lambda w: the(w, "Service", "gateway")["spec"].update(
        selector={"app.kubernetes.io/name": "gatewai"}
    ),
    "Service gateway: Deployment gateway has no port 8081": lambda w: the(w, "Service", "gateway")[
        "spec"
    ]["ports"][0].update(targetPort=8081),
    "named after no service": lambda w: remove(w, "Service", "valkey"),
    "no port of a service": lambda w: the(w, "Ingress", "gateway")["spec"]["rules"][0]["http"][
        "paths"
    ][0]["backend"]["service"].update(port={"name": "ops"}),
    "denies nothing": lambda w: remove(w, "NetworkPolicy", "deny"),
    "has no network policy": lambda w: remove(w, "NetworkPolicy", "sweeper"),
    "gateway has no port https": lambda w: policy(w, "gateway")["ingress"][0].update(
        ports=[{"port": "https"}]
    ),
    "lets anybody in": lambda w: policy(w, "gateway")["ingress"][0].pop("from"),
    "lets out to any port": lambda w: policy(w, "gateway")["egress"][0].pop("ports"),
    "pods that are not there": lambda w: policy(w, "gateway")["egress"][0].update(
        to=[{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}]
    ),
    "StatefulSet valkey has no port 6380": lambda w: policy(w, "to-valkey")["egress"][0].update(
        ports=[{"port": 6380}]
    ),
    "StatefulSet stripe does not let Deployment relay in": lambda w: policy(w, "to-stripe")[
        "podSelector"
    ]["matchExpressions"][0].update(values=["relay"]),
    "Service relay has no port": lambda w: the(w, "Service", "relay")["spec"]["ports"][0].update(
        name="metrics"
    ),
    "does not find": lambda w: the(w, "Service", "relay")["metadata"].pop("labels"),
}

RUNNING: dict[str, Spoil] = {
    "HOLDFAST_DRAINS_S is not a setting": lambda w: tell(w, "HOLDFAST_DRAINS_S", "60"),
    "HOLDFAST_SHOPP is not a setting": lambda w: the(w, "ConfigMap", "holdfast-settings")[
        "data"
    ].update(HOLDFAST_SHOPP="demo"),
    "HOLDFAST_DRAIN_S is wrong": lambda w: tell(w, "HOLDFAST_DRAIN_S", "0"),
    "must not be less than HOLDFAST_HOLD_TTL_S": lambda w: tell(w, "HOLDFAST_HOLD_MAX_S", "60"),
    "HOLDFAST_SECRET must be set": lambda w: container(w)["env"].remove(
        {"name": "HOLDFAST_SECRET_FILE", "value": "/run/secrets/holdfast/secret"}
    ),
    "no secret is mounted": lambda w: tell(w, "REDIS_URL_FILE", "/run/secrets/redis-url"),
    "no config map": lambda w: remove(w, "ConfigMap", "holdfast-settings"),
    "no secret tokens": lambda w: spec(w)["volumes"][0]["secret"].update(secretName="tokens"),
    "has no key redis-url": lambda w: the(w, "Secret", "holdfast-secrets")["data"].pop("redis-url"),
    "its settings say": lambda w: container(w)["ports"][0].update(containerPort=8000),
    "nobody but itself": lambda w: tell(w, "HOLDFAST_HOST", "127.0.0.1"),
    "no command of holdfast": lambda w: container(w).update(args=["server"]),
    "no module gateway.sandbox.strip": lambda w: container(w, "stripe", "StatefulSet")[
        "command"
    ].__setitem__(2, "gateway.sandbox.strip"),
    "holdfast drains`, which does not": lambda w: container(w)["lifecycle"]["preStop"][
        "exec"
    ].update(command=["sh", "-c", "sleep 5; exec holdfast drains"]),
    "does not drain before": lambda w: container(w).pop("lifecycle"),
    "is killed after 80 s": lambda w: tell(w, "HOLDFAST_DRAIN_S", str(DRAIN_S + 1)),
    "is killed after 79 s": lambda w: spec(w).update(terminationGracePeriodSeconds=79),
    "no image that the overlay names": lambda w: container(w).update(image="holdfast:0.1.0"),
    "has no version": lambda w: w.images.update(kubectl="rancher/kubectl:latest"),
    "is not version": lambda w: w.images.update(holdfast="holdfast:0.0.1"),
    "no browser finds the sandbox": lambda w: the(w, "ConfigMap", "holdfast-settings")["data"].pop(
        "HOLDFAST_SANDBOX_URL"
    ),
    "may lose what was sold": lambda w: container(w, "valkey", "StatefulSet").update(
        command=["valkey-server", "--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"]
    ),
}

SCALING: dict[str, Spoil] = {
    "how many it wants to be": lambda w: the(w, "Deployment", "gateway")["spec"].update(replicas=3),
    "no metric holdfast_socket": lambda w: scaler(w)["metrics"][0]["pods"]["metric"].update(
        name="holdfast_socket"
    ),
    "a pod is full": lambda w: tell(w, "HOLDFAST_SOCKETS", "3500"),
    "may need 1031 MiB, and is killed at 640.0": lambda w: container(w)["resources"][
        "limits"
    ].update(memory="640Mi"),
    "may need 1781 MiB": lambda w: tell(w, "HOLDFAST_SEND_BUFFER_BYTES", "131072"),
    "waits before it adds": lambda w: scaler(w)["behavior"].pop("scaleUp"),
    "takes pods away too soon": lambda w: scaler(w)["behavior"].pop("scaleDown"),
    "may leave one pod alone": lambda w: scaler(w).update(minReplicas=1),
    "patches horizontalpodautoscaler/gatewai": lambda w: job(w)["jobTemplate"]["spec"]["template"][
        "spec"
    ]["containers"][0]["args"].__setitem__(1, "horizontalpodautoscaler/gatewai"),
    "CronJob prescale-down asks for 3 pods": lambda w: scaler(w).update(minReplicas=4),
    "allows more than": lambda w: the(w, "Role", "prescale")["rules"][0].update(verbs=["*"]),
    "horizontalpodautoscalers gatewai, which": lambda w: the(w, "Role", "prescale")["rules"][
        0
    ].update(resourceNames=["gatewai"]),
    "no ServiceAccount prescale": lambda w: remove(w, "ServiceAccount", "prescale"),
}


def of_load(world: World, name: str) -> list[str]:
    found: list[str] = container(world, name, "Job")["args"]
    return found


LOAD: dict[str, Spoil] = {
    "another number of workers": lambda w: the(w, "Job", "load-workers")["spec"].update(
        parallelism=3
    ),
    "another master": lambda w: of_load(w, "load-workers").remove("--master-host=load-master"),
    "different loads": lambda w: of_load(w, "load-workers").append("--scenario=smoke"),
    "cannot go to wss://shop.example.com": lambda w: of_load(w, "load-workers").remove(
        "--socket-url=ws://gateway.holdfast.svc/v1/live"
    ),
    "cannot go to http://gateway.holdfast.svc": lambda w: of_load(w, "load-master").remove(
        "--allow-remote-host=gateway.holdfast.svc"
    ),
    "does not let Job load-workers in at port http": lambda w: remove(
        w, "NetworkPolicy", "gateway-from-load"
    ),
    "Job load-workers has a secret": lambda w: container(w, "load-workers", "Job")["env"].append(
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "load-keys", "key": "admin-key"}}}
    ),
    "Job load-master has a secret": lambda w: container(w, "load-master", "Job").update(
        envFrom=[{"secretRef": {"name": "load-keys"}}]
    ),
    "Job load-master: no secret is mounted": lambda w: container(w, "load-master", "Job")[
        "volumeMounts"
    ].pop(0),
    "NetworkPolicy load-master: Job load-master has no port workers": lambda w: container(
        w, "load-master", "Job"
    )["ports"][0].update(name="master"),
}

LOCAL = {
    "StatefulSet stripe does not let Deployment relay in",
    *("named after no service", "StatefulSet valkey has no port 6380", "has no key redis-url"),
    *("no module gateway.sandbox.strip", "may lose what was sold", "no browser finds the sandbox"),
}
"""Spoilt where there is a Valkey and a sandbox; the others in production."""


def spoilt(spoil: Spoil, overlays: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """What is complained of once something is spoilt, and which checks do."""
    before, world = joined(*overlays), joined(*overlays)
    spoil(world)
    said, by = set(), set()
    for check in CHECKS:
        if new := {*check(world)} - {*check(before)}:
            said |= new
            by.add(check.__name__)
    return said, by


ALL = {**PODS, **TRAFFIC, **RUNNING, **SCALING, **LOAD}


def overlays(complaint: str) -> tuple[str, ...]:
    """Where something is spoilt."""
    if complaint in LOAD:
        return ("production", "load")
    return ("local",) if complaint in LOCAL else ("production",)


@pytest.mark.parametrize("complaint", ALL)
def test_what_is_spoilt_is_complained_of(complaint: str) -> None:
    said, _ = spoilt(ALL[complaint], overlays(complaint))
    assert [one for one in said if complaint in one], said


def test_every_check_complains_of_something() -> None:
    by: set[str] = set()
    for complaint, spoil in ALL.items():
        by |= spoilt(spoil, overlays(complaint))[1]
    assert by == {check.__name__ for check in CHECKS}


def document(name: str) -> Manifest:
    [found] = read(K8S / f"{name}.yaml")
    return found


def test_a_misspelt_field_is_not_valid() -> None:
    deployment = document("base/gateway/deployment")
    assert not list(schemas.complaints(deployment, NEWEST))
    pod = deployment["spec"]["template"]["spec"]
    pod["terminationGracePeriodSecond"] = pod.pop("terminationGracePeriodSeconds")
    [complaint] = schemas.complaints(deployment, NEWEST)
    assert "terminationGracePeriodSecond" in complaint


def test_a_word_where_a_number_belongs_is_not_valid() -> None:
    budget = document("base/relay/poddisruptionbudget")
    budget["spec"]["maxUnavailable"] = ["1"]
    assert list(schemas.complaints(budget, NEWEST))


def test_a_version_of_a_kind_that_is_gone_is_not_valid() -> None:
    scaler = document("base/gateway/horizontalpodautoscaler") | {
        "apiVersion": "autoscaling/v2beta2"
    }
    [complaint] = schemas.complaints(scaler, NEWEST)
    assert "autoscaling/v2beta2" in complaint


def test_a_misspelt_field_of_a_kind_of_others_is_not_valid() -> None:
    monitor = document("overlays/production/servicemonitor")
    assert not list(schemas.complaints(monitor))
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    [complaint] = schemas.complaints(monitor)
    assert "intervall" in complaint
    kustomization = document("overlays/production/kustomization") | {"resource": []}
    [complaint] = schemas.complaints(kustomization)
    assert "resource" in complaint


def test_the_checks_know_a_value_for_every_secret() -> None:
    assert running.DUMMIES.keys() == HIDDEN
