"""The servers of a run: Valkeys as they are needed, and one Postgres if there is any."""

import contextlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from gateway.sandbox.valkey import EmbeddedValkey, Fsync
from loadtest.postgres import DURABLE, EmbeddedPostgres, PostgresMissingError
from loadtest.ways import Places

DRIVERS = ("asyncpg", "psycopg")
"""Of the alternatives, and of our table of claims."""
LINK_TIMEOUT_S = 30.0
LINK_PROBE_S = 0.02


@dataclass(slots=True)
class Servers:
    """Servers that are started once, when they are first needed, and end with the run."""

    group: int
    """Of the ``Warden``."""
    stack: contextlib.ExitStack
    why_no_postgres: str = ""
    _valkeys: dict[str, EmbeddedValkey] = field(default_factory=dict)
    _running: list[EmbeddedValkey] = field(default_factory=list)
    _postgres: EmbeddedPostgres | None = None

    def valkey(self, name: str = "plain", fsync: Fsync | None = None) -> EmbeddedValkey:
        """A Valkey by its name; with ``fsync`` it keeps an append-only file on the disk."""
        if name not in self._valkeys:
            home = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) if fsync else None
            server = EmbeddedValkey(
                self.group, port=0, data_dir=home, appendfsync=fsync or "everysec"
            )
            self._valkeys[name] = self.stack.enter_context(server)
            self._running.append(server)
        return self._valkeys[name]

    @contextlib.contextmanager
    def replicated(self) -> Iterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
        """A primary with a replica, for as long as the block runs."""
        with EmbeddedValkey(self.group, port=0) as primary:
            follow = {"replicaof": f"127.0.0.1 {primary.port}"}
            with EmbeddedValkey(self.group, port=0, config=follow) as replica:
                _wait_for_link(primary)
                pair = [primary, replica]
                self._running += pair
                try:
                    yield primary, replica
                finally:
                    self._running = [one for one in self._running if one not in pair]

    def sqlite(self) -> str:
        """The address of an empty table of claims on the disk."""
        home = self.stack.enter_context(tempfile.TemporaryDirectory())
        return f"sqlite://{home}/claims.db"

    def places(self) -> Places:
        """Three Valkeys and the Postgres."""
        valkeys = tuple(self.valkey(name).url for name in ("plain", "second", "third"))
        return Places(valkeys, self._postgres.url if self._postgres else "")

    def start_postgres(self) -> bool:
        """Start it, or remember why not."""
        try:
            _find_drivers()
            self._postgres = self.stack.enter_context(EmbeddedPostgres(self.group, DURABLE))
        except PostgresMissingError as missing:
            self.why_no_postgres = str(missing)
        return self._postgres is not None

    def pids(self, places: Places, *, postgres: bool) -> list[int]:
        """The processes behind a way."""
        if postgres:
            return [self._postgres.pid] if self._postgres else []
        return [one.pid for one in self._running if one.url in places.valkeys]


def _find_drivers() -> None:
    for driver in DRIVERS:
        if importlib.util.find_spec(driver) is None:
            raise PostgresMissingError(f"no {driver}: pip install 'holdfast[bench]'")


def _wait_for_link(primary: EmbeddedValkey) -> None:
    """The first copy to a replica takes a moment."""
    deadline = time.monotonic() + LINK_TIMEOUT_S
    with Redis.from_url(primary.url) as client:
        while client.info("replication").get("slave0", {}).get("state") != "online":
            if time.monotonic() > deadline:
                raise RuntimeError("the replica does not follow")
            time.sleep(LINK_PROBE_S)


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
