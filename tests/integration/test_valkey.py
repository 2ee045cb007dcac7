"""The embedded server, spoken to with the client that the gateway uses."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from gateway.sandbox import valkey as embedded
from gateway.sandbox.ports import free_ports
from gateway.sandbox.valkey import EmbeddedValkey, ValkeyMissingError, ValkeyStartError, find_server
from gateway.sandbox.warden import Warden


@pytest.fixture(autouse=True)
def needs_server(valkey: EmbeddedValkey) -> None:
    """Skips where there is no server, by the session's rule."""


def client(server: EmbeddedValkey) -> Redis:
    return Redis.from_url(server.url, decode_responses=True, retry=None)


@contextlib.contextmanager
def cluster_client(url: str) -> Iterator[RedisCluster]:
    """Closed with its connections, which the library's own end of the block leaves open."""
    with RedisCluster.from_url(url) as redis:
        try:
            yield redis
        finally:
            redis.disconnect_connection_pools()


def test_by_default_it_listens_on_a_private_unix_socket_and_keeps_nothing(warden: Warden) -> None:
    with EmbeddedValkey(warden.group) as server:
        path = Path(server.url.removeprefix("unix://"))
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o077 == 0
        with client(server) as redis:
            assert redis.set("key", "value")
            assert redis.config_get("port", "appendonly", "save") == {
                "port": "0",
                "appendonly": "no",
                "save": "",
            }
    assert not path.parent.exists()


def test_it_listens_on_loopback_only_when_a_port_is_asked_for(warden: Warden) -> None:
    with EmbeddedValkey(warden.group, port=0) as server:
        assert server.url == f"redis://127.0.0.1:{server.port}"
        with client(server) as redis:
            assert redis.ping()
            assert redis.config_get("bind") == {"bind": "127.0.0.1"}


def test_the_sessions_server_is_a_cluster_that_refuses_a_script_over_two_slots(
    redis_url: str,
) -> None:
    with cluster_client(redis_url) as redis:
        assert redis.set("{a}:key", "1")
        assert redis.cluster_info()["cluster_state"] == "ok"
        assert redis.get_nodes()[0].host == "127.0.0.1"  # type: ignore[no-untyped-call]
    with (
        Redis.from_url(redis_url) as redis,
        pytest.raises(Exception, match=r"CROSSSLOT|same slot"),
    ):
        redis.eval("return 1", 2, "{a}:key", "{b}:key")


def test_each_test_has_a_shop_of_its_own(shop: str, redis_url: str) -> None:
    with cluster_client(redis_url) as redis:
        assert redis.keys(f"hf:{{{shop}}}:*") == []


def test_with_a_data_directory_it_remembers_what_was_acknowledged_over_a_crash(
    warden: Warden, tmp_path: Path
) -> None:
    data = tmp_path / 'a "quoted" directory'
    with EmbeddedValkey(warden.group, data_dir=data, appendfsync="always") as server:
        with client(server) as redis:
            redis.set("key", "value")
        server.kill()
        server.start()
        with client(server) as redis:
            assert redis.get("key") == "value"
            assert redis.config_get("appendfsync") == {"appendfsync": "always"}
    with EmbeddedValkey(warden.group, data_dir=data) as server, client(server) as redis:
        assert redis.get("key") == "value"


def test_it_starts_again_at_the_same_port(warden: Warden) -> None:
    with EmbeddedValkey(warden.group, port=0) as server:
        url = server.url
        server.stop()
        server.start()
        assert server.url == url
        with client(server) as redis:
            assert redis.ping()


def test_two_servers_cannot_share_a_data_directory(
    warden: Warden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.05)
    second = EmbeddedValkey(warden.group, data_dir=tmp_path)
    with (
        EmbeddedValkey(warden.group, data_dir=tmp_path),
        pytest.raises(ValkeyStartError, match="another Valkey is using"),
        second,
    ):
        pass


def test_further_configuration_makes_a_replica_of_another(warden: Warden) -> None:
    with EmbeddedValkey(warden.group, port=0) as primary:
        config = {"replicaof": f"127.0.0.1 {primary.port}", "repl-diskless-sync-delay": "0"}
        replica = EmbeddedValkey(warden.group, port=0, config=config)
        with replica, client(replica) as redis:
            assert redis.info("replication")["role"] == "slave"
            assert redis.info("replication")["master_port"] == primary.port


def test_wrong_configuration_is_told_with_the_servers_own_words(warden: Warden) -> None:
    server = EmbeddedValkey(warden.group, config={"maxmemory": "plenty"})
    with pytest.raises(ValkeyStartError, match="maxmemory"), server:
        pass


def test_a_taken_port_is_told(warden: Warden) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedValkey(warden.group, port=taken.getsockname()[1])
        with pytest.raises(ValkeyStartError, match="in use"), server:
            pass


def test_another_server_on_the_port_is_not_taken_for_ours(warden: Warden) -> None:
    with EmbeddedValkey(warden.group, port=0) as other:
        server = EmbeddedValkey(warden.group, port=other.port)
        with pytest.raises(ValkeyStartError, match="in use"), server:
            pass


def test_a_free_port_that_was_taken_meanwhile_is_replaced(
    warden: Warden, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([[taken.getsockname()[1], 1], free_ports(2)])
        monkeypatch.setattr(embedded, "free_ports", lambda _: next(ports))
        with EmbeddedValkey(warden.group, port=0) as server, client(server) as redis:
            assert redis.ping()


def test_a_socket_path_that_is_too_long_is_told(
    warden: Warden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    server = EmbeddedValkey(warden.group)
    with pytest.raises(ValkeyStartError, match="TMPDIR"), server:
        pass
    assert list(long.iterdir()) == []


def test_a_server_that_does_not_react_is_killed_in_the_end(
    warden: Warden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.05)
    server = EmbeddedValkey(warden.group)
    with server:
        os.kill(server.pid, signal.SIGSTOP)
        began = time.monotonic()
        server.stop()
    assert time.monotonic() - began < 2
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid


def test_it_is_a_child_in_the_wardens_group(warden: Warden) -> None:
    with EmbeddedValkey(warden.group) as server:
        assert os.getpgid(server.pid) == warden.group
        with pytest.raises(RuntimeError, match="already running"):
            server.start()


def test_without_the_wheel_a_server_on_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValkeyMissingError, match=r"pip install 'holdfast\[demo\]'"):
        find_server()
    server = tmp_path / "redis-server"
    server.touch(0o700)
    assert find_server() == server


def test_the_found_server_says_what_it_is() -> None:
    version = subprocess.run([find_server(), "--version"], capture_output=True, check=True)
    assert b"server v=" in version.stdout
