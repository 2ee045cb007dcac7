"""Who reaches whom: names and ports that exist at the other end, and no way but those named."""

import argparse
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.settings import socket_origin
from loadtest.drop.guard import may_go_to
from loadtest.drop.options import add_options
from tests.manifests.reading import Manifest, Pod, World, labels, name, namespace, selects
from tests.manifests.running import environment


def served(world: World) -> Iterator[str]:
    """A service selects pods, and its ports are theirs."""
    for service in world.of("Service"):
        pods = world.selected({"matchLabels": service["spec"]["selector"]}, namespace(service))
        if not pods:
            yield f"{name(service)} selects no pod"
        for pod in pods:
            for port in service["spec"]["ports"]:
                if not pod.has_port(port["targetPort"]):
                    yield f"{name(service)}: {pod.name} has no port {port['targetPort']}"
    for workload in world.of("StatefulSet"):
        if not world.named("Service", workload["spec"]["serviceName"]):
            yield f"{name(workload)} is named after no service"


def let_in(world: World) -> Iterator[str]:
    """The way in leads to ports of services; that of operation is not among them."""
    for ingress in world.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                wanted = path["backend"]["service"]
                service = world.named("Service", wanted["name"])
                ports = {port["name"] for port in service["spec"]["ports"]} if service else set()
                if wanted["port"].get("name") not in ports - {"ops"}:
                    yield f"{name(ingress)} leads to {wanted}, which is no port of a service"


def denied(world: World) -> Iterator[str]:
    """In every namespace nobody may do anything, but for what a policy of one's own allows."""
    policies = list(world.of("NetworkPolicy"))
    for pod in world.pods():
        here = [policy for policy in policies if namespace(policy) == namespace(pod.workload)]
        if not any(_denies_all(policy) for policy in here):
            yield f"{pod.name}: its namespace denies nothing by default"
        own = [
            policy
            for policy in here
            if policy["spec"]["podSelector"] and selects(policy["spec"]["podSelector"], pod.labels)
        ]
        if not any({"Ingress", "Egress"} <= set(one["spec"]["policyTypes"]) for one in own):
            yield f"{pod.name} has no network policy"


def _denies_all(policy: Manifest) -> bool:
    return bool(policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def allowed(world: World) -> Iterator[str]:
    """What a policy lets in is a port of its own pods; what it lets out, of those it names."""
    for policy in world.of("NetworkPolicy"):
        spec, here = policy["spec"], namespace(policy)
        own = world.selected(spec["podSelector"], here)
        for rule in spec.get("ingress", ()):
            yield from _without_port(policy, own, rule)
            if not rule.get("from") or not rule.get("ports"):
                yield f"{name(policy)} lets anybody in, or to any port"
        for rule in spec.get("egress", ()):
            if not rule.get("ports"):
                yield f"{name(policy)} lets out to any port"
            for peer in rule.get("to", ()):
                if peers := _peers(world, peer, here):
                    yield from _without_port(policy, peers, rule)
                elif "ipBlock" not in peer and "namespaceSelector" not in peer:
                    yield f"{name(policy)} lets out to pods that are not there"


def met_halfway(world: World) -> Iterator[str]:
    """Whom a policy lets out to a pod of ours, that pod's policies let in."""
    for policy in world.of("NetworkPolicy"):
        callers = world.selected(policy["spec"]["podSelector"], namespace(policy))
        for target, port in _ways_out(world, policy):
            for caller in callers:
                if not _lets_in(world, target, caller, port):
                    way = f"{target.name} does not let {caller.name} in at port {port}"
                    yield f"{name(policy)}: {way}"


def _ways_out(world: World, policy: Manifest) -> Iterator[tuple[Pod, int | str]]:
    """The pods of ours a policy leads to, and their ports."""
    for rule in policy["spec"].get("egress", ()):
        for peer in rule.get("to", ()):
            for target in _peers(world, peer, namespace(policy)):
                for port in rule.get("ports", ()):
                    yield target, port["port"]


def _lets_in(world: World, target: Pod, caller: Pod, port: int | str) -> bool:
    here = namespace(target.workload)
    return any(
        caller.workload in [pod.workload for pod in _peers(world, peer, here)]
        and port in {one["port"] for one in rule["ports"]}
        for policy in world.of("NetworkPolicy")
        if namespace(policy) == here and selects(policy["spec"]["podSelector"], target.labels)
        for rule in policy["spec"].get("ingress", ())
        for peer in rule["from"]
    )


def _peers(world: World, peer: Manifest, here: str) -> list[Pod]:
    """The pods of ours that a rule names."""
    if "podSelector" not in peer:
        return []
    named = peer.get("namespaceSelector", {}).get("matchLabels", {})
    return world.selected(peer["podSelector"], named.get("kubernetes.io/metadata.name", here))


def _without_port(policy: Manifest, pods: list[Pod], rule: Manifest) -> Iterator[str]:
    for pod in pods:
        for port in rule.get("ports", ()):
            if not pod.has_port(port["port"]):
                yield f"{name(policy)}: {pod.name} has no port {port['port']}"


def scraped(world: World) -> Iterator[str]:
    """Prometheus finds every process of ours, at a port that it has."""
    for monitor in world.of("ServiceMonitor"):
        services = [
            service
            for service in world.of("Service")
            if selects(monitor["spec"]["selector"], labels(service))
        ]
        ports = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
        for service in services:
            if not ports <= {port["name"] for port in service["spec"]["ports"]}:
                yield f"{name(monitor)}: {name(service)} has no port {sorted(ports)}"
        for deployment in world.of("Deployment"):
            if deployment["metadata"]["name"] not in {one["metadata"]["name"] for one in services}:
                yield f"{name(monitor)} does not find {name(deployment)}"


def loaded(world: World) -> Iterator[str]:
    """A load asks, and opens its sockets, at a service; what tickets say may lead elsewhere."""
    gateway = world.named("Deployment", "gateway")
    if gateway is None:
        return
    container = gateway["spec"]["template"]["spec"]["containers"][0]
    public_url = environment(world, container).get("HOLDFAST_PUBLIC_URL")
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    add_options(parser.add_argument)
    for job in world.of("Job"):
        words = job["spec"]["template"]["spec"]["containers"][0]["args"]
        told, _ = parser.parse_known_args(words)
        ticket = socket_origin(public_url or told.host)
        for url in (told.host, told.socket_url or ticket):
            if not _is_of_a_service(world, url) or not may_go_to(url, told.allow_remote_host):
                yield f"{name(job)} cannot go to {url}"


def _is_of_a_service(world: World, url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "ws": 80}.get(parts.scheme)
    return any(
        parts.hostname == f"{service['metadata']['name']}.{namespace(service)}.svc"
        and port in {one["port"] for one in service["spec"]["ports"]}
        for service in world.of("Service")
    )


CHECKS = (served, let_in, denied, allowed, met_halfway, scraped, loaded)
