"""A load test goes to no host that nobody named, and never near live payment keys."""

import argparse
import base64
import json
from pathlib import Path

import pytest

from loadtest.drop.guard import NotAllowed, check_config, check_environment, check_hosts, may_go_to
from loadtest.drop.options import ADMIN_KEY, Options, add_options, read_options
from loadtest.drop.run import Run
from loadtest.drop.shop_api import Answer, Api, NoAnswer, Refused


def key(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


KEY = key(shop="corner", scopes=["admin"], use="key")


def told(*words: str, host: str = "http://127.0.0.1:8080", admin_key: str = KEY) -> Options:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    add_options(parser.add_argument)
    said = parser.parse_args(["--host", host, *words])
    return read_options(said, {ADMIN_KEY: admin_key})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80", "http://localhost:1", "http://[::1]:5", "https://127.9.9.9"]
)
def test_this_machine_is_allowed(url: str) -> None:
    check_hosts([url], None)


@pytest.mark.parametrize(
    "url", ["http://shop.example", "https://10.0.0.7", "http://127.0.0.1.example", "http://0.0.0.0"]
)
def test_any_other_is_not_unless_its_name_is_repeated(url: str) -> None:
    with pytest.raises(NotAllowed, match="--allow-remote-host"):
        check_hosts(["http://127.0.0.1", url], None)
    with pytest.raises(NotAllowed):
        check_hosts([url], "other.example")
    check_hosts([url], url.partition("//")[2])


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ws://127.0.0.1", "http://", "file:///etc"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(NotAllowed, match="--host"):
        check_hosts([url], None)


def test_metrics_are_read_at_the_hosts_or_where_gateways_tell_them() -> None:
    hosts = "http://127.0.0.1:1,http://127.0.0.1:2"
    assert told(host=hosts).metrics_urls == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    operators = "http://127.0.0.1:9090/metrics, http://[::1]:9091/"
    elsewhere = told("--metrics-url", operators, host=hosts)
    assert elsewhere.metrics_urls == ("http://127.0.0.1:9090", "http://[::1]:9091")
    assert elsewhere.urls == ("http://127.0.0.1:1", "http://127.0.0.1:2")


def test_metrics_of_another_host_are_not_asked_for_unless_its_name_is_repeated() -> None:
    words = ("--metrics-url", "http://ops.example:9090")
    with pytest.raises(NotAllowed, match="--allow-remote-host ops"):
        Run(told(*words), leads=True, plays=True).prepares()
    with pytest.raises(NotAllowed, match="--metrics-url"):
        check_hosts(["ops.example:9090"], None, "--metrics-url")
    both = told(*words, "--allow-remote-host", "shop.example,Ops.Example")
    check_hosts(both.metrics_urls, both.allowed, "--metrics-url")
    check_hosts(["https://shop.example"], both.allowed)
    with pytest.raises(NotAllowed):
        check_hosts(["https://shop"], both.allowed)


def test_a_gateway_may_not_send_the_load_elsewhere() -> None:
    assert may_go_to("ws://127.0.0.1:8080/v1/live", None)
    assert not may_go_to("wss://shop.example/v1/live", None)
    assert may_go_to("wss://shop.example/v1/live", "shop.example")


@pytest.mark.parametrize("value", ["sk_live_x", "rk_live_x", "whsec_1,pk_live_y"])
def test_a_live_key_in_the_environment_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(NotAllowed, match="SOME_KEY") as refused:
        check_environment({"PATH": "/bin", "SOME_KEY": value})
    assert value not in str(refused.value)
    check_environment({"SOME_KEY": "sk_test_x"})


def test_a_gateway_that_takes_real_money_is_refused_whatever_is_allowed() -> None:
    with pytest.raises(NotAllowed, match="real money"):
        check_config("http://127.0.0.1", {"publishable_key": "pk_live_x"})
    check_config("http://127.0.0.1", {"publishable_key": "pk_test_x"})
    check_config("http://127.0.0.1", {"publishable_key": None})


def asked(monkeypatch: pytest.MonkeyPatch, *audits: Answer | None) -> list[tuple[str, str]]:
    """Have gateways without a publishable key say these at an audit; what they are asked."""
    heard: list[tuple[str, str]] = []
    left = list(audits)

    def call(_: Api, method: str, path: str, body: object = None) -> Answer:
        heard.append((method, path))
        if path == "/config.json":
            return Answer(200, {"publishable_key": None})
        if path != "/v1/audit":
            return Answer(503, {"detail": "nothing else is there"})
        if (answer := left.pop(0) if len(left) > 1 else left[0]) is None:
            raise NoAnswer("http://127.0.0.1:8080 does not answer")
        return answer

    monkeypatch.setattr(Api, "call", call)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return heard


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (Answer(200, {"mode": "live"}), "real money"),
        (Answer(200, {}), "does not say"),
        (Answer(200, "a page of somebody else's"), "does not say"),
        (Answer(403, {"detail": "no scope"}), "does not say.*403"),
        (None, "does not say.*does not answer"),
    ],
)
def test_who_takes_real_money_or_does_not_tell_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, said: Answer | None, complaint: str
) -> None:
    heard = asked(monkeypatch, said)
    with pytest.raises(NotAllowed, match=complaint):
        Run(told(), leads=True, plays=True).prepares()
    assert {method for method, _ in heard} == {"GET"}
    assert {path for _, path in heard} == {"/config.json", "/v1/audit"}


def test_a_gateway_of_the_test_mode_is_let_through_though_it_was_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = asked(monkeypatch, Answer(429, {}), Answer(200, {"mode": "test"}))
    with pytest.raises(Refused, match="catalog"):
        Run(told(), leads=True, plays=True).prepares()
    assert heard[-1] == ("GET", "/v1/catalog")


def test_a_worker_leaves_that_to_the_master_which_may_be_busy_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Locust has a worker begin when the master is ready, whether or not the worker is."""
    heard = asked(monkeypatch, None)
    Run(told(), leads=False, plays=True).prepares()
    assert heard == [("GET", "/config.json")]


@pytest.mark.parametrize("others", [("http://127.0.0.1:8081",), ()])
def test_a_worker_plays_against_no_host_its_master_has_not_asked(others: tuple[str, ...]) -> None:
    worker = Run(told(), leads=False, plays=True)
    worker.joins("run", 2, 1, others)
    worker.over.set()
    assert worker.world is None
    (problem,) = worker.recorder.take()["problems"]
    assert "other hosts than the master" in problem


def test_a_worker_plays_its_share_against_the_hosts_of_its_master() -> None:
    worker = Run(told(), leads=False, plays=True)
    worker.joins("run", 2, 1, worker.options.urls)
    worker.over.set()
    assert worker.world
    assert (worker.world.prefix, worker.processes) == ("run-1", 2)
    assert worker.recorder.take()["problems"] == []


def test_where_no_till_is_looked_at_the_report_says_so() -> None:
    for words, is_said in (((), True), (("--till-url", "http://127.0.0.1:9"), False)):
        run = Run(told(*words), leads=True, plays=False)
        measured, _ = run.ends()
        assert any("No point of sale was looked at" in one for one in measured.notes) is is_said


def test_options_are_read_and_keys_are_not_shown() -> None:
    options = told("--scenario", "smoke", "--units", "7", host="http://127.0.0.1:1/, http://[::1]")
    assert options.urls == ("http://127.0.0.1:1", "http://[::1]")
    assert options.pos_key == options.admin_key == KEY
    assert options.scenario.units == 7
    assert options.skus == ("load-1", "load-2")
    assert KEY not in repr(options)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--units", "0"], "--units"),
        (["--shoppers", "-1"], "--shoppers"),
        (["--compress", "0"], "--compress"),
        (["--scenario", "replay"], "--arrivals"),
        (["--scenario", "replay", "--arrivals", "/nowhere", "--shoppers", "10"], "--times"),
        (["--arrivals", "/nowhere"], "--scenario replay"),
        (["--times", "3"], "--scenario replay"),
        (["--scenario", "replay", "--arrivals", "/nowhere"], "/nowhere"),
        (["--thresholds", "/nowhere"], "/nowhere"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(words: list[str], complaint: str) -> None:
    with pytest.raises(NotAllowed, match=complaint):
        told(*words)


def test_without_a_key_of_a_shop_nothing_begins() -> None:
    for wrong in ("", "nonsense", "a.b.c", key(scopes=[])):
        with pytest.raises(NotAllowed, match=ADMIN_KEY):
            told(admin_key=wrong)


@pytest.fixture
def night(tmp_path: Path) -> str:
    """A recorded show, in a file."""
    lines = [
        json.dumps({"at_ms": at_ms, "lines": [{"sku": sku, "quantity": 2}], "shopper": f"s{at_ms}"})
        for at_ms, sku in ((0, "tee"), (900, "cap"), (2_000, "tee"))
    ]
    file = tmp_path / "night.jsonl"
    file.write_text("\n".join(lines))
    return str(file)


def test_a_recorded_show_sells_what_was_asked_for_once_in_products_of_the_load(night: str) -> None:
    options = told("--scenario", "replay", "--arrivals", night, "--times", "3")
    assert len(options.arrivals) == 9
    # The shop's own tees and caps get no units that are not there.
    assert options.units == {"load-tee": 4, "load-cap": 2}
    assert options.skus == ("load-cap", "load-tee")
    assert {lines[0][0] for one in options.arrivals if (lines := one.lines)} == {*options.skus}
    assert options.scenario.closes_at_s > options.arrivals[-1].at_s


def test_a_recorded_show_is_compressed_as_every_scenario_is(night: str) -> None:
    words = ("--scenario", "replay", "--arrivals", night)
    as_it_was, fast = told(*words), told(*words, "--compress", "2")
    first_s, last_s = as_it_was.arrivals[0].at_s, as_it_was.arrivals[-1].at_s
    assert last_s - first_s == pytest.approx(2)
    assert fast.arrivals[0].at_s == first_s
    assert fast.arrivals[-1].at_s - first_s == pytest.approx(1)
    with pytest.raises(SystemExit):
        told(*words, "--speed", "2")


def test_bounds_may_be_ones_own(tmp_path: object) -> None:
    file = f"{tmp_path}/bounds.json"
    with open(file, "w", encoding="utf-8") as bounds:  # noqa: PTH123
        bounds.write('[{"what": "reserve", "statistic": "p99_ms", "at_most": 50}]')
    (threshold,) = told("--thresholds", file).scenario.thresholds
    assert (threshold.what, threshold.at_most) == ("reserve", 50)
