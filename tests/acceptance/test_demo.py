"""``holdfast demo`` as somebody runs it: real processes, real sockets, real signals."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from gateway.sandbox.valkey import ValkeyMissingError, find_server
from gateway.sandbox.warden import GRACE_S
from tests.depth import only_deep
from tests.late import ends_after_s

ROOT = Path(__file__).parents[2]
START_S = 30.0
END_S = 60.0
FAULTY_END_S = 150.0
CTRL_C_S = 5.0

Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def needs_valkey() -> None:
    """The demo starts a Valkey of its own."""
    try:
        find_server()
    except ValkeyMissingError as missing:
        if "CI" in os.environ:
            raise
        pytest.skip(str(missing))


class Demo:
    """A demo that runs; ``first`` is the first line it wrote."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.first: Json = {}

    def starts(self) -> None:
        assert self.process.stdout is not None
        line = _line(self.process.stdout, START_S)
        if not line:
            _, said = self.process.communicate(timeout=END_S)
            raise AssertionError(f"it did not start: {self.process.returncode}, {said}")
        self.first = json.loads(line)

    def ends(self, within_s: float = END_S) -> tuple[int, Json, str]:
        """Its exit code, the last line it wrote, and what it said to people."""
        out, err = self.process.communicate(timeout=within_s)
        lines = out.splitlines()
        return self.process.returncode, json.loads(lines[-1]) if lines else {}, err

    def get(self, path: str) -> Any:
        key = {"authorization": f"Bearer {self.first['keys']['admin']}"}
        return httpx.get(self.first["url"] + path, headers=key, trust_env=False).json()

    def children(self) -> dict[int, str]:
        """Process ids and command lines of its children."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if int(stat[1]) == self.process.pid and stat[0] != "Z":
                found[int(folder.name)] = command
        return found

    def group(self) -> int:
        """The process group of its children."""
        groups = {os.getpgid(pid) for pid in self.children()}
        assert len(groups) == 1, groups
        return groups.pop()


def _line(stream: IO[str], within_s: float) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        assert selector.select(within_s), "the demo says nothing"
    return stream.readline()


@contextmanager
def running(*words: str, port: int = 0) -> Iterator[Demo]:
    # A process group of its own, as a shell would give it.
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--json", "--port", str(port), *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "HOLDFAST_PORT": "nonsense", "REDIS_URL": "redis://nowhere"},
    ) as process:
        try:
            yield Demo(process)
        finally:
            process.kill()


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def eventually(fact: Any, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def test_a_crowd_buys_and_in_the_end_everything_agrees() -> None:
    with running("--for", "8", "--crowd", "20") as demo:
        demo.starts()
        assert set(demo.first) >= {"url", "show", "till_url", "keys", "stock"}
        assert set(demo.first["keys"]) == {"pos", "host", "admin"}
        assert sum(demo.first["stock"].values()) == 88
        assert httpx.get(demo.first["url"] + "/", trust_env=False).status_code == 200
        group = demo.group()
        code, summary, said = demo.ends()
    assert code == 0, said
    assert summary["orders"] == summary["captured"] == summary["till_orders"] > 0, said
    assert summary["committed_units"] >= summary["orders"]
    assert summary["drift"] == summary["errors"] == 0, said
    assert is_gone(group)


@only_deep
def test_whatever_goes_wrong_at_stripe_everything_agrees_in_the_end() -> None:
    webhooks = {"shuffle": True, "duplicate_percent": 100}
    plan = {"lose_reply_percent": 5, "webhooks": webhooks}
    with running("--for", "8", "--crowd", "20", "--faults", json.dumps(plan)) as demo:
        demo.starts()
        url, key = demo.first["faults_url"], ("sk_test_any", "")
        shown = httpx.get(url, auth=key, trust_env=False).json()
        assert (shown["lose_reply_percent"], shown["webhooks"]["shuffle"]) == (5, True)
        httpx.post(url, auth=key, json=plan | {"cut_percent": 20}, trust_env=False)
        code, summary, said = demo.ends(FAULTY_END_S)
    assert code == 0, said
    assert url in said
    assert "faults are switched off" in said
    assert summary["orders"] == summary["captured"] == summary["till_orders"] > 0, said
    assert summary["drift"] == 0, said


def test_faults_with_a_mistake_are_named_before_anything_starts() -> None:
    with running("--faults", '{"lose": 5}') as demo:
        code, nothing, said = demo.ends()
    assert (code, nothing) == (2, {})
    assert "--faults: not a plan of faults" in said


@only_deep
def test_ctrl_c_stops_everything_in_time_and_a_data_directory_remembers(tmp_path: Path) -> None:
    with running("--data-dir", str(tmp_path), "--crowd", "20") as demo:
        demo.starts()
        group = demo.group()
        eventually(lambda: demo.get("/v1/orders")["orders"], START_S)
        processes = [demo.process.pid, *demo.children()]
        demo.process.send_signal(signal.SIGINT)
        took_s = ends_after_s(processes, lambda: demo.process.poll() is not None)
        code, first, said = demo.ends()
        assert took_s < CTRL_C_S, said
        assert code == 0, said
        assert is_gone(group)
    with running("--data-dir", str(tmp_path), "--for", "1") as demo:
        demo.starts()
        with running("--data-dir", str(tmp_path)) as second:
            code, _, said = second.ends()
            assert (code, said.count("\n")) == (2, 1)
            assert "Another holdfast demo is using" in said
        code, again, said = demo.ends()
    assert code == 0, said
    assert again["orders"] >= first["orders"] > 0
    assert again["orders"] == again["till_orders"] == again["captured"]


@only_deep
def test_a_second_ctrl_c_kills_at_once() -> None:
    with running("--crowd", "5") as demo:
        demo.starts()
        group = demo.group()
        demo.process.send_signal(signal.SIGTERM)
        demo.process.send_signal(signal.SIGINT)
        code, _, _ = demo.ends(CTRL_C_S)
        assert code == 130
        assert is_gone(group)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killing_the_parent_leaves_no_process() -> None:
    with running("--crowd", "5") as demo:
        demo.starts()
        group = demo.group()
        assert len(demo.children()) >= 7
        demo.process.kill()
        eventually(lambda: is_gone(group), GRACE_S + 10)


@only_deep
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_part_that_dies_is_named_and_ends_the_demo() -> None:
    with running() as demo:
        demo.starts()
        victims = [pid for pid, command in demo.children().items() if "gateway sweep" in command]
        os.kill(victims[0], signal.SIGKILL)
        code, summary, said = demo.ends()
    assert code == 1
    assert "The sweep ended unexpectedly (SIGKILL)." in said
    assert summary["errors"] == 1


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(port=port) as demo:
            code, nothing, said = demo.ends()
    assert (code, nothing) == (2, {})
    assert said.startswith(f"holdfast demo: Port {port} is taken")
    assert said.count("\n") == 1
