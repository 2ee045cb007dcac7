"""The warden, against real processes that are really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.sandbox.warden import GRACE_S, Warden

DEADLINE_S = 30.0

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""

POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye")))
print("ready", flush=True)
time.sleep(60)
"""

PARENT = """
import signal, subprocess, sys
from gateway.sandbox.warden import Warden

with Warden() as warden:
    subprocess.Popen(["sleep", "60"], process_group=warden.group)
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=warden.group)
    signal.pause()
"""


@contextmanager
def parent_of(child: str) -> Iterator[subprocess.Popen[bytes]]:
    """A parent with two guarded children, ready; all three write to the same pipe."""
    command = [sys.executable, "-c", PARENT, child]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        yield parent


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_no_child_outlives_a_killed_parent_not_even_one_that_ignores_sigterm(how: int) -> None:
    with parent_of(STUBBORN) as parent:
        parent.send_signal(how)
        # The children inherited the pipe, so its end is the end of the last of them.
        parent.communicate(timeout=DEADLINE_S)
    assert parent.returncode == -how


def test_a_child_is_asked_to_end_before_it_is_killed() -> None:
    with parent_of(POLITE) as parent:
        parent.kill()
        said, _ = parent.communicate(timeout=DEADLINE_S)
        assert said == b"bye\n"


def test_children_are_in_the_wardens_group_and_not_in_the_terminals() -> None:
    with Warden() as warden:
        command = ["sleep", "60"]
        with subprocess.Popen(command, process_group=warden.group) as child:
            assert os.getpgid(child.pid) == warden.group != os.getpgrp()
            child.kill()


def test_a_child_cannot_keep_the_pipe_open() -> None:
    with Warden() as warden:
        list_descriptors = "import os; print(*os.listdir('/dev/fd'))"
        fds = subprocess.run(
            [sys.executable, "-c", list_descriptors],
            process_group=warden.group,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        # The fourth is the directory being listed.
        assert len(fds.stdout.split()) == 4


def test_leaving_the_block_kills_what_was_forgotten_without_waiting_for_the_grace() -> None:
    with Warden() as warden:
        child = subprocess.Popen(
            [sys.executable, "-c", STUBBORN], process_group=warden.group, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        left_at = time.monotonic()
    with child:
        assert child.wait(DEADLINE_S) == -signal.SIGKILL
    assert time.monotonic() - left_at < GRACE_S


def test_ctrl_c_does_not_end_the_warden() -> None:
    with Warden() as warden, subprocess.Popen(["sleep", "60"], process_group=warden.group) as child:
        deadline = time.monotonic() + DEADLINE_S
        while not ignores(warden.group, signal.SIGINT):
            assert time.monotonic() < deadline, "the warden does not ignore SIGINT"
            time.sleep(0.01)
        os.killpg(warden.group, signal.SIGINT)
        assert child.wait(DEADLINE_S) == -signal.SIGINT
        assert warden._process is not None
        assert warden._process.poll() is None


def ignores(pid: int, what: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("only /proc tells which signals a process ignores")
    masks = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
    return bool(int(masks["SigIgn"], 16) >> (what - 1) & 1)


def test_a_warden_that_does_not_run_has_no_group() -> None:
    warden = Warden()
    with pytest.raises(RuntimeError, match="not running"):
        _ = warden.group
