"""A child process that is told a line at a time, and answers a line at a time."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

ANSWER_S = 120.0
"""How long an answer may take; whatever a child does is bounded by less."""
_CHUNK = 65_536


class ChildFailed(RuntimeError):
    """A child ended, or said nothing for too long."""


@dataclass(slots=True)
class Child:
    """One process; whoever starts it also ends it, at the latest the ``Warden`` of its group."""

    process: subprocess.Popen[bytes]
    _heard: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(
        cls,
        group: int,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stderr: IO[bytes] | None = None,
    ) -> "Child":
        """Run our own interpreter with arguments."""
        return cls(
            subprocess.Popen(  # noqa: S603 (our own interpreter)
                [sys.executable, *arguments],
                process_group=group,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
                pass_fds=pass_fds,
                stderr=stderr,
            )
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def tell(self, line: str) -> None:
        """Say a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, within_s: float = ANSWER_S) -> str:
        """The next line it says.

        Raises:
            ChildFailed: it ended, or the time is up.
        """
        assert self.process.stdout is not None
        pipe, until = self.process.stdout.fileno(), time.monotonic() + within_s
        while b"\n" not in self._heard:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise ChildFailed(f"a child said nothing for {within_s:.0f} s")
            chunk = os.read(pipe, _CHUNK)
            if not chunk:
                raise ChildFailed(f"a child ended with {self.process.wait()}")
            self._heard += chunk
        line, _, rest = self._heard.partition(b"\n")
        self._heard = rest
        return line.decode()

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and all its threads so far, to the microsecond."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of clock_getcpuclockid(3).
