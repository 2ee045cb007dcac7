"""What every pod must be: without rights, bounded, watched, spread, and replaced without a gap."""

from collections.abc import Iterator

from tests.manifests.reading import Manifest, Pod, World, name, namespace, selects

_UNITS = {"": 1.0, "m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_SERVING = {"Deployment", "StatefulSet"}


def restricted(world: World) -> Iterator[str]:
    """Every namespace refuses pods that ask for more than the restricted standard allows."""
    for found in world.of("Namespace"):
        if found["metadata"].get("labels", {}).get(_ENFORCE) != "restricted":
            yield f"{name(found)} does not enforce the restricted standard"


_ENFORCE = "pod-security.kubernetes.io/enforce"


def without_rights(world: World) -> Iterator[str]:
    """No pod runs as root, may become it, writes to its image, or shares anything of its node."""
    for pod in world.pods():
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{pod.name} may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.name} has no seccomp profile"
        if any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.name} shares its node"
        if any("hostPath" in volume for volume in pod.spec.get("volumes", ())):
            yield f"{pod.name} mounts its node's files"
        for container in pod.containers:
            yield from _container_without_rights(pod, container.get("securityContext", {}))


def _container_without_rights(pod: Pod, context: Manifest) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield f"{pod.name} may gain rights"
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"{pod.name} may write to its root file system"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{pod.name} keeps capabilities"
    if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0:
        yield f"{pod.name} runs as root"


def unknown_to_the_api(world: World) -> Iterator[str]:
    """Only a pod whose account was given a role has a token; none hears of services by variables,
    for one named ``holdfast-port`` would be taken for a setting."""
    bound = {
        (namespace(binding), subject["name"])
        for binding in world.of("RoleBinding")
        for subject in binding["subjects"]
    }
    for pod in world.pods():
        account = (namespace(pod.workload), pod.spec.get("serviceAccountName", "default"))
        if pod.spec.get("automountServiceAccountToken") is not (account in bound):
            yield f"{pod.name} should{'' if account in bound else ' not'} have a token of the API"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.name} takes variables named after services"


def bounded(world: World) -> Iterator[str]:
    """Every container asks for what it needs, has a limit, and is alone in its pod."""
    for pod in world.pods():
        if len(pod.containers) != 1:
            yield f"{pod.name} has {len(pod.containers)} containers"
        for container in pod.containers:
            asked = container.get("resources", {}).get("requests", {})
            most = container.get("resources", {}).get("limits", {})
            for what in ("cpu", "memory"):
                if what not in asked or what not in most:
                    yield f"{pod.name} has no request or no limit of {what}"
                elif quantity(asked[what]) > quantity(most[what]):
                    yield f"{pod.name} asks for more {what} than its limit"
        for volume in pod.spec.get("volumes", ()):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{pod.name}: the volume {volume['name']} may fill the node's disk"


def quantity(text: str) -> float:
    """A quantity of Kubernetes as a number: ``500m`` is 0.5."""
    number = text.rstrip("mKMGi")
    return float(number) * _UNITS[text[len(number) :]]


def watched(world: World) -> Iterator[str]:
    """Whatever serves has three probes, on ports that it has."""
    for pod in world.pods():
        for container in pod.containers if pod.workload["kind"] in _SERVING else ():
            for probe in _PROBES:
                yield from _probe(pod, container, probe)


def _probe(pod: Pod, container: Manifest, probe: str) -> Iterator[str]:
    made = container.get(probe)
    if made is None:
        yield f"{pod.name} has no {probe}"
        return
    if "exec" in made:
        return
    asked = made.get("httpGet") or made["tcpSocket"]
    ports = {port["name"] for port in container.get("ports", ())}
    if asked["port"] not in ports:
        yield f"{pod.name}: {probe} asks at port {asked['port']}, which is none of {sorted(ports)}"
    path = "/readyz" if probe == "readinessProbe" else "/livez"
    if asked.get("path", path) != path:
        yield f"{pod.name}: {probe} asks for {asked['path']}, not {path}"


def selecting_themselves(world: World) -> Iterator[str]:
    """What a workload selects, and is spread by, are its own pods."""
    for pod in world.pods():
        if pod.workload["kind"] not in _SERVING:
            continue
        if not selects(pod.workload["spec"]["selector"], pod.labels):
            yield f"{pod.name} does not select its own pods"
        spread = pod.spec.get("topologySpreadConstraints", ())
        if any(not selects(constraint["labelSelector"], pod.labels) for constraint in spread):
            yield f"{pod.name} is spread by pods that are not its own"
        keys = {constraint["topologyKey"] for constraint in spread}
        wanted = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        if pod.workload["kind"] == "Deployment" and not keys >= wanted:
            yield f"{pod.name} is not spread over zones and nodes"


def replaced_without_a_gap(world: World) -> Iterator[str]:
    """A rollout adds before it takes away, and a node is emptied one pod at a time."""
    budgets = list(world.of("PodDisruptionBudget"))
    for pod in world.pods():
        if pod.workload["kind"] != "Deployment":
            continue
        rolling = pod.workload["spec"].get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0 or not rolling.get("maxSurge"):
            yield f"{pod.name} drops below its capacity while it is rolled out"
        own = [
            budget
            for budget in budgets
            if namespace(budget) == namespace(pod.workload)
            and selects(budget["spec"]["selector"], pod.labels)
        ]
        if [budget["spec"].get("maxUnavailable") for budget in own] != [1]:
            yield f"{pod.name} has no disruption budget of one pod"
    for budget in budgets:
        if not world.selected(budget["spec"]["selector"], namespace(budget)):
            yield f"{name(budget)} is for no pod"


def played_once(world: World) -> Iterator[str]:
    """A job ends, and is not played over and over; who changes the cluster by the clock is asleep
    until somebody has set the clock."""
    for found in world.of("Job", "CronJob"):
        job = found["spec"]
        if found["kind"] == "CronJob":
            if job.get("suspend") is not True or job.get("concurrencyPolicy") != "Forbid":
                yield f"{name(found)} is not suspended, or may overtake itself"
            job = job["jobTemplate"]["spec"]
        if "activeDeadlineSeconds" not in job or "backoffLimit" not in job:
            yield f"{name(found)} may go on for ever"


CHECKS = (
    restricted,
    without_rights,
    unknown_to_the_api,
    bounded,
    watched,
    selecting_themselves,
    replaced_without_a_gap,
    played_once,
)
