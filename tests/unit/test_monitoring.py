"""The dashboard and the alerts in ``k8s/monitoring`` ask for what the processes really tell."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.claiming import Table
from tests.exposed import SCRAPED, Exposed, everything
from tests.manifests.reading import RUNBOOK_ANCHORS, joined

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "monitoring"
DOCUMENTS = (ROOT / "README.md", ROOT / "k8s" / "README.md")
ROWS = ["Shoppers", "Stock", "Money", "POS", "Redis and Stripe", "Process"]
LABELS = {
    # Words of ours, or of few others.
    *("type", "outcome", "reason", "kind", "by", "code", "said", "what", "phase", "endpoint"),
    *("difference", "repaired", "version", "le"),
    # Webhooks, of which a relay tells no more than so many apart (``pos.tally``).
    *("shop", "webhook"),
    # The interpreter's own.
    *("generation", "implementation", "major", "minor", "patchlevel"),
}
CONTAINERS = {"gateway", "relay", "sweeper"}
LOOKED_UP = {
    *("holdfast_shops", "holdfast_frames_written"),
    *("holdfast_sweep_payments", "holdfast_relay_parked_now"),
}
"""What nobody has to watch."""
CLUSTER: dict[str, dict[str, set[str]]] = {
    # The kubelet's (cAdvisor), and those of kube-state-metrics.
    "container_memory_working_set_bytes": {"container": CONTAINERS},
    "kube_pod_container_resource_limits": {"container": CONTAINERS, "resource": {"memory"}},
}
"""What others tell of our pods, in the clusters this is meant for; only the labels that we use."""
[RUNBOOK_IS_AT] = re.findall(r"sed -i 's\|(https://[^|]+)\|https://", DOCUMENTS[1].read_text())
HOW_LONG = re.compile(r"\b(how long|how old|how late|staleness|takes)\b", re.IGNORECASE)


@pytest.fixture
async def exposed(tmp_path: Path) -> Exposed:
    return everything(Table(f"sqlite://{tmp_path}/claims").claims())


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return told


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def asked_for() -> Iterator[tuple[str, str]]:
    """Every query, and where it is."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def parsed(query: str) -> promql_parser.Expr:
    """Read a query; what Grafana puts in for its variables does not matter."""
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


def faults(query: str, exposed: Exposed) -> list[str]:
    """What a query asks for that no process tells."""
    found: list[str] = []
    known: set[str] = set()
    grouped: list[str] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            labels = (exposed.samples | CLUSTER).get(node.name or "")
            if labels is None:
                found.append(f"no metric {node.name}")
                return True
            known.update(labels)
            for matcher in node.matchers.matchers:
                if matcher.name in SCRAPED - labels.keys():
                    continue
                if matcher.name not in labels:
                    found.append(f"{node.name} has no label {matcher.name}")
                    continue
                strange = set(matcher.value.split("|")) - labels[matcher.name]
                found.extend(f"{matcher.name} is never {value}" for value in sorted(strange))
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouped.extend(node.modifier.labels)
        return True

    promql_parser.walk(parsed(query), visit)
    found += [f"no label {label} to group by" for label in set(grouped) - known - SCRAPED]
    return found


async def test_every_query_asks_for_what_some_process_tells(exposed: Exposed) -> None:
    wrong = {
        where: problems for where, query in asked_for() if (problems := faults(query, exposed))
    }
    assert wrong == {}


async def test_every_number_of_ours_is_shown_or_watched(exposed: Exposed) -> None:
    asked = " ".join(query for _, query in asked_for())
    ours = {name for name in exposed.families if name.startswith("holdfast_")}
    shown = {name for name in ours if re.search(rf"\b{name}(_total|_bucket|_info)?\b", asked)}
    assert ours - shown == LOOKED_UP


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(holdfast_socket)", "no metric holdfast_socket"),
        ("rate(holdfast_commands[5m])", "no metric holdfast_commands"),
        ('holdfast_refused_total{cause="full"}', "holdfast_refused_total has no label cause"),
        ('holdfast_refused_total{reason=~"full|fool"}', "reason is never fool"),
        ("container_memory_working_bytes", "no metric container_memory_working_bytes"),
        ('kube_pod_container_resource_limits{container="gate"}', "container is never gate"),
        ("sum by (webhok) (holdfast_relay_in_hand)", "no label webhok to group by"),
    ],
)
async def test_a_misspelt_query_would_be_found(exposed: Exposed, query: str, fault: str) -> None:
    assert faults(query, exposed) == [fault]


def test_a_query_that_cannot_be_read_would_be_found() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(holdfast_sockets[5m])")


async def test_names_carry_their_units_and_labels_are_few(exposed: Exposed) -> None:
    for name, family in exposed.families.items():
        assert not re.search(r"_(ms|s|sec|secs|mb|kb|percent|pct)$", name), name
        if family.type == "histogram" or HOW_LONG.search(family.documentation):
            assert name.endswith("_seconds"), name
        if name.startswith("holdfast_"):
            assert family.documentation.endswith("."), name
    for name, labels in exposed.samples.items():
        assert labels.keys() <= LABELS, name


async def test_every_metric_a_document_names_is_told(exposed: Exposed) -> None:
    histograms = {name for name, one in exposed.families.items() if one.type == "histogram"}
    for document in DOCUMENTS:
        named = set(re.findall(r"\bholdfast_[a-z_]+", document.read_text()))
        assert named, document
        assert named <= exposed.samples.keys() | histograms, document


async def test_what_an_alert_counts_is_told_from_the_beginning(tmp_path: Path) -> None:
    """A count that appears with 1 was never seen to grow, so that its first is missed."""
    fresh = everything(happened=False)
    for rule in alerts():
        for name in re.findall(r"increase\((\w+)", rule["expr"]):
            assert fresh.samples.get(name), f"{rule['alert']}: {name}"
    # The control: what is only told once it happens.
    assert "holdfast_commands_total" not in fresh.samples


def test_those_whose_memory_is_watched_are_the_processes_there_are() -> None:
    running = [pod for pod in joined("production").pods() if pod.workload["kind"] == "Deployment"]
    assert {one["name"] for pod in running for one in pod.containers} == CONTAINERS


def test_every_alert_says_how_bad_it_is_what_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        notes = rule["annotations"]
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert re.fullmatch(r"[1-9]\d*m", rule["for"]), rule["alert"]
        for sentence in (notes["summary"], notes["description"]):
            assert sentence[0].isupper() or sentence.startswith("{{"), rule["alert"]
            assert sentence.endswith("."), rule["alert"]
        assert len(notes["description"]) > 60, rule["alert"]
        page, _, anchor = notes["runbook_url"].partition("#")
        # A pager opens nothing that is relative; the README's command changes all of them.
        assert page == f"{RUNBOOK_IS_AT}/k8s/README.md", rule["alert"]
        assert anchor in RUNBOOK_ANCHORS, rule["alert"]
    named = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in alerts()}
    assert named == set(RUNBOOK_ANCHORS)


def test_the_dashboard_has_its_rows_and_every_panel_explains_itself() -> None:
    told = dashboard()
    assert [panel["title"] for panel in told["panels"] if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    assert [one["name"] for one in told["templating"]["list"]] == ["datasource", "namespace"]
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]
            assert 'namespace="$namespace"' in target["expr"], panel["title"]
            words = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert all(word in target["expr"] or word in SCRAPED for word in words), panel["title"]


def test_no_panel_covers_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_what_is_packed_is_there() -> None:
    packed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = [
        *packed["resources"],
        *(one for maps in packed["configMapGenerator"] for one in maps["files"]),
    ]
    assert sorted(files) == ["alerts.yaml", "dashboard.json"]
    assert all((FOLDER / file).is_file() for file in files)
