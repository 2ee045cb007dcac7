"""The servers of a run: Valkeys as they are needed, and one Postgres if there is any."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.sandbox.valkey import EmbeddedValkey, Fsync
from loadtest.postgres import EmbeddedPostgres, PostgresMissingError
from loadtest.ways import Places


@dataclass(slots=True)
class Servers:
    """Servers that are started once, when they are first needed, and end with the run."""

    group: int
    """Of the ``Warden``."""
    stack: contextlib.ExitStack
    why_no_postgres: str = ""
    _valkeys: dict[str, EmbeddedValkey] = field(default_factory=dict)
    _postgres: EmbeddedPostgres | None = None

    def valkey(self, name: str = "plain", fsync: Fsync | None = None) -> EmbeddedValkey:
        """A Valkey by its name; with ``fsync`` it keeps an append-only file on the disk."""
        if name not in self._valkeys:
            home = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) if fsync else None
            server = EmbeddedValkey(
                self.group, port=0, data_dir=home, appendfsync=fsync or "everysec"
            )
            self._valkeys[name] = self.stack.enter_context(server)
        return self._valkeys[name]

    @contextlib.contextmanager
    def replicated(self) -> Iterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
        """A primary with a replica, for as long as the block runs."""
        with EmbeddedValkey(self.group, port=0) as primary:
            follow = {"replicaof": f"127.0.0.1 {primary.port}"}
            with EmbeddedValkey(self.group, port=0, config=follow) as replica:
                yield primary, replica

    def places(self) -> Places:
        """Three Valkeys and the Postgres."""
        valkeys = tuple(self.valkey(name).url for name in ("plain", "second", "third"))
        return Places(valkeys, self._postgres.url if self._postgres else "")

    def start_postgres(self) -> bool:
        """Start it, or remember why not."""
        try:
            self._postgres = self.stack.enter_context(EmbeddedPostgres(self.group))
        except PostgresMissingError as missing:
            self.why_no_postgres = str(missing)
        return self._postgres is not None

    def pids(self, *, postgres: bool) -> list[int]:
        """The processes behind a way."""
        if postgres:
            return [self._postgres.pid] if self._postgres else []
        return [server.pid for server in self._valkeys.values()]


def cpu_s(pids: list[int]) -> float | None:
    """User and system seconds of processes and their children, dead ones too; ``None`` where the
    kernel does not tell.
    """
    ticks = 0
    try:
        for process in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                number, facts = process.read_text().split(" (", 1)
                fields = facts.rsplit(") ", 1)[1].split()
                if int(number) in pids:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) in pids:
                    ticks += sum(map(int, fields[11:13]))
    except OSError:
        return None
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else None
