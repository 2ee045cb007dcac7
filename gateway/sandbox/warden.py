"""No child process outlives its parent, however the parent ends.

A parent killed with SIGKILL runs no clean-up, so a tiny second process does it: the warden leads a
process group and reads a pipe whose only other end is in the parent. The kernel closes that end
when the parent is gone, by whatever cause, and the warden then ends every process of the group.
Being in a group of their own, the children do not get the terminal's Ctrl-C either: it reaches
the parent alone, which stops them in the right order.
"""

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

GRACE_S = 1.0
"""How long orphaned children may take to end by themselves between SIGTERM and SIGKILL."""


class Warden:
    """Guards the children started with ``process_group=warden.group``.

        with Warden() as warden:
            subprocess.Popen(command, process_group=warden.group, stdin=subprocess.DEVNULL)

    Whoever starts a child stops it; leaving the block kills at once what was forgotten. A child
    that moves to a group or session of its own is no longer guarded, and one forked without exec
    keeps the pipe open. uvloop knows no ``process_group``: start children with ``subprocess``.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def group(self) -> int:
        """Id of the process group that children join.

        Raises:
            RuntimeError: the warden is not running.
        """
        if self._process is None:
            raise RuntimeError("the warden is not running: use it as a context manager")
        return self._process.pid

    def __enter__(self) -> Self:
        # Popen's pipe is close-on-exec: no child can hold the end whose closing is the signal.
        # This file is run as a script without site-packages, so that it costs a few milliseconds.
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter, our own file)
            [sys.executable, "-I", "-S", __file__],
            process_group=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # Not yet waited for, the warden keeps its pid, and so the group's id cannot be another's.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def keep_watch(pipe: int, grace_s: float) -> None:
    """Wait until the pipe's other end is closed, then end the own process group, oneself included.

    Args:
        pipe: file descriptor to read; nothing is ever written to it.
        grace_s: seconds between SIGTERM and SIGKILL.
    """
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(grace_s)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    keep_watch(sys.stdin.fileno(), GRACE_S)
