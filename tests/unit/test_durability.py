"""Settings of a server that undermine a promise are named, and only those."""

import msgspec
import pytest

from gateway.durability import Server, judge, mode
from gateway.settings import Settings

GOOD = Server(
    version="7.2.4",
    replicas=1,
    in_cluster=False,
    knows_wait=True,
    config={
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
    },
)
ALONE = msgspec.structs.replace(GOOD, replicas=0)
WAITING = Settings(wait_replicas=1)
NOT_WAITING = Settings(wait_replicas=0)


def having(server: Server, **config: str | None) -> Server:
    """The server with other settings; ``None`` is one that it does not tell."""
    changed = {name.replace("_", "-"): value for name, value in config.items()}
    kept = {name: value for name, value in (server.config | changed).items() if value is not None}
    return msgspec.structs.replace(server, config=kept)


def codes(settings: Settings, server: Server) -> list[str]:
    return [finding.code for finding in judge(settings, {"one": server}).findings]


def test_a_server_that_is_set_well_has_no_findings() -> None:
    assert codes(WAITING, GOOD) == []
    assert codes(NOT_WAITING, ALONE) == []


@pytest.mark.parametrize(
    ("server", "code"),
    [
        (having(GOOD, appendonly="no"), "no_aof"),
        (having(GOOD, appendfsync="no"), "appendfsync"),
        (
            msgspec.structs.replace(
                having(GOOD, cluster_require_full_coverage="yes"), in_cluster=True
            ),
            "full_coverage",
        ),
        (having(GOOD, maxmemory_policy="allkeys-lru"), "eviction"),
        (having(GOOD, maxmemory_policy=None), "hidden_policy"),
        (having(GOOD, appendfsync=None), "hidden"),
        (ALONE, "too_few_replicas"),
        (msgspec.structs.replace(GOOD, knows_wait=False), "no_wait"),
        (
            msgspec.structs.replace(GOOD, memory_bytes=86, memory_limit_bytes=100),
            "nearly_full",
        ),
        (msgspec.structs.replace(GOOD, version="6.2.14"), "old_server"),
    ],
)
def test_what_undermines_a_promise_is_named_alone(server: Server, code: str) -> None:
    assert codes(WAITING, server) == [code]


def test_memory_without_a_limit_is_never_nearly_full() -> None:
    assert codes(WAITING, msgspec.structs.replace(GOOD, memory_bytes=10**12)) == []


def test_a_second_on_one_disk_matters_as_long_as_no_replica_has_the_sale() -> None:
    assert codes(NOT_WAITING, having(ALONE, appendfsync="everysec")) == ["appendfsync"]
    assert codes(WAITING, having(GOOD, appendfsync="everysec")) == []


def test_of_a_file_that_is_not_kept_nothing_else_is_said() -> None:
    worse = having(GOOD, appendonly="no", appendfsync="no")
    assert codes(WAITING, worse) == ["no_aof"]


def test_not_waiting_for_replicas_that_may_take_over_is_named() -> None:
    assert codes(NOT_WAITING, GOOD) == ["wait_off"]
    assert codes(NOT_WAITING, msgspec.structs.replace(ALONE, in_cluster=True)) == ["wait_off"]


def test_a_claims_table_makes_up_for_what_redis_forgets() -> None:
    strict = Settings(claims_url="sqlite:///claims")
    assert codes(strict, having(GOOD, appendfsync="everysec")) == []


def test_what_is_true_of_several_servers_is_said_once_with_their_names() -> None:
    bad = having(GOOD, appendonly="no")
    report = judge(WAITING, {"b:1": bad, "a:1": bad, "c:1": GOOD, "d:1": None})
    assert [(finding.code, finding.servers) for finding in report.findings] == [
        ("no_aof", ("a:1", "b:1")),
        ("silent", ("d:1",)),
    ]


def test_a_redis_alone_is_not_named() -> None:
    (finding,) = judge(WAITING, {"": None}).findings
    assert msgspec.to_builtins(finding).keys() == {"code", "message"}


def test_the_mode_is_one_sentence() -> None:
    assert mode(NOT_WAITING) == "captures at once: only this server's disk has the sale"
    assert mode(WAITING) == "captures after 1 replica has the sale (WAIT)"
    two = mode(Settings(wait_replicas=2))
    assert two == "captures after 2 replicas have the sale (WAIT)"
