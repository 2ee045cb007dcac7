"""One process of the demo: started, watched, stopped, and its last words."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gateway.demo.parts import Part, private

_LINES_SHOWN = 8
_TAIL_BYTES = 8_192


@dataclass(slots=True)
class Child:
    """A part as a process in the warden's group; what it says goes to a log file.

    With ``piped`` its standard output can be read here instead, from ``output``.
    """

    part: Part
    group: int
    logs: Path
    piped: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """Where its log is."""
        return self.logs / f"{re.sub(r'[^a-z]+', '-', self.part.name.lower())}.log"

    @property
    def pid(self) -> int:
        """Its number; for a child that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; ``None`` while it runs, or before it has."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> IO[bytes]:
        """What it writes to standard output; for a child that is ``piped``."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def start(self) -> None:
        """Start it; whether it works is to be seen."""
        # -P: a folder called "gateway" in the user's own directory must not be run instead of us.
        command = [sys.executable, "-P", "-m", self.part.module, *self.part.arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter, our own modules)
                command,
                process_group=self.group,
                env=private(os.environ, self.part.environment, sys.path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.piped else log,
                stderr=log,
            )

    def terminate(self) -> None:
        """Ask it to end; nothing happens if it has."""
        if self._process:
            self._process.terminate()

    def kill(self) -> None:
        """End it, and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def how_it_ended(self) -> str:
        """One sentence on an end nobody asked for, and the last lines of its log."""
        code = self.code
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        return f"The {self.part.name} ended unexpectedly ({how}).{self.last_words()}"

    def last_words(self) -> str:
        """The end of its log, indented; empty when it said nothing."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        shown = [line.rstrip() for line in lines if line.strip()][-_LINES_SHOWN:]
        return "".join(f"\n    {line}" for line in shown)
