"""The runbook in ``k8s/README.md`` speaks of what there is: objects, commands, metrics, alerts.

What its commands do was tried by hand; here it is only seen to that nobody types, at night, the
name of something that is no more.
"""

import argparse
import importlib
import re
import textwrap
from collections.abc import Iterator

import pytest
import yaml

from gateway.__main__ import _COMMANDS
from gateway.settings import Settings, variable
from tests.exposed import everything
from tests.manifests.reading import K8S, RUNBOOK_ANCHORS, joined

README = (K8S / "README.md").read_text()
RUNBOOK = README[README.index("\n## Runbook\n") :]
MOST_LINES = 28
"""Of an entry: it is read by somebody who was asleep a minute ago."""
TOLD = ("**Notice:**", "**Meanwhile**", "**Over**", "**Not:**")
KINDS = {
    "deployment": "Deployment",
    "cronjob": "CronJob",
    "networkpolicy": "NetworkPolicy",
    "hpa": "HorizontalPodAutoscaler",
    "service": "Service",
}
OBJECT = re.compile(rf"\b({'|'.join(KINDS)})[ /]([a-z][a-z-]*)")
OPTION = re.compile(r"--[a-z-]+")
COMMAND = re.compile(r"(?:\bh|\bholdfast) ([a-z]+)((?: --[a-z-]+(?: [^-`\s#][^`\s#]*)?)*)")


def entries(page: str) -> dict[str, str]:
    """The entries by their anchors, as GitHub makes those of headings."""
    parts = re.split(r"^### (.+)$", page, flags=re.MULTILINE)[1:]
    return {_anchor(title): text for title, text in zip(parts[::2], parts[1::2], strict=True)}


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-")


def typed(page: str) -> Iterator[str]:
    """What is there to be typed or read on a terminal: blocks, and words between backticks."""
    for line in page.splitlines():
        if line.startswith("    "):
            yield line.partition(" #")[0]
    yield from re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", page, flags=re.MULTILINE))


def unknown_objects(page: str) -> list[str]:
    world = joined("production")
    named = {pair for line in typed(page) for pair in OBJECT.findall(line)}
    return [f"{kind} {name}" for kind, name in sorted(named) if not world.named(KINDS[kind], name)]


def unknown_commands(page: str) -> list[str]:
    found = []
    for name, words in (one for line in typed(page) for one in COMMAND.findall(line)):
        if name not in _COMMANDS:
            found.append(name)
            continue
        known = options(name)
        found += [f"{name} {word}" for word in OPTION.findall(words) if word not in known]
    return found


def options(command: str) -> set[str]:
    """What a command may be told."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"gateway.commands.{_COMMANDS[command][0]}").add_arguments(parser)
    return set(OPTION.findall(parser.format_help()))


def unknown_settings(page: str) -> list[str]:
    # The doctor and the audit take their key from there, which is no setting of a process.
    known = {variable(field) for field in Settings.__struct_fields__} | {"HOLDFAST_KEY"}
    return sorted(set(re.findall(r"\bHOLDFAST_[A-Z_]+\b", page)) - known)


def alerts() -> dict[str, str]:
    """Each alert, and the entry it leads to."""
    groups = yaml.safe_load((K8S / "monitoring" / "alerts.yaml").read_text())["spec"]["groups"]
    return {
        rule["alert"]: rule["annotations"]["runbook_url"].partition("#")[2]
        for group in groups
        for rule in group["rules"]
    }


def test_every_entry_is_there_is_short_and_says_what_is_needed() -> None:
    found = entries(RUNBOOK)
    assert list(found) == RUNBOOK_ANCHORS
    for anchor, text in found.items():
        assert len(text.strip().splitlines()) <= MOST_LINES, anchor
        assert [word for word in TOLD if word not in text] == [], anchor


def test_an_alert_leads_to_the_entry_that_speaks_of_it() -> None:
    found, led = entries(RUNBOOK), alerts()
    assert [name for name, anchor in led.items() if f"`{name}`" not in found[anchor]] == []
    assert set(re.findall(r"\bHoldfast[A-Z]\w+", RUNBOOK)) - led.keys() == set()


def test_redis_is_asked_from_where_its_address_and_a_client_are() -> None:
    assert "redis-cli" not in RUNBOOK
    [(name, code)] = re.findall(r"exec deployment/(\w+) -- python -c '([^']+)'", RUNBOOK)
    compile(textwrap.dedent(f"    {code}"), "runbook", "exec")
    [told] = re.findall(r'environ\["(\w+)"\]', code)
    relay = joined("production").named("Deployment", name)
    assert relay is not None
    [container] = relay["spec"]["template"]["spec"]["containers"]
    assert told in {one["name"] for one in container["env"]}


def test_links_lead_to_headings_of_the_page() -> None:
    headings = {_anchor(title) for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


async def test_what_is_named_exists() -> None:
    assert unknown_objects(RUNBOOK) == []
    assert unknown_commands(RUNBOOK) == []
    assert unknown_settings(RUNBOOK) == []
    told = set(re.findall(r"\bholdfast_[a-z_]+[a-z]\b", RUNBOOK))
    assert told - everything().samples.keys() == set()


def test_every_way_in_from_this_machine_leads_to_a_port_of_a_service() -> None:
    world = joined("local")
    forwarded = re.findall(r"port-forward service/(\w+) (\d+):(\d+)", README)
    assert {service for service, _, _ in forwarded} == {"gateway", "stripe"}
    settings = world.named("ConfigMap", "holdfast-settings")
    assert settings is not None
    for name, own, theirs in forwarded:
        service = world.named("Service", name)
        assert service is not None
        assert int(theirs) in {port["port"] for port in service["spec"]["ports"]}
        if name == "stripe":
            assert settings["data"]["HOLDFAST_SANDBOX_URL"] == f"http://localhost:{own}"


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("    k rollout restart deployment/sweep\n", "deployment sweep"),
        ("`k patch hpa gatway`", "hpa gatway"),
        ("    h adit --repair   # as it was\n", "adit"),
        ("`holdfast audit --payment`", "audit --payment"),
        ("HOLDFAST_SHOW_VIEWER=3", "HOLDFAST_SHOW_VIEWER"),
    ],
)
def test_a_slip_of_the_pen_would_be_found(page: str, found: str) -> None:
    assert [*unknown_objects(page), *unknown_commands(page), *unknown_settings(page)] == [found]
