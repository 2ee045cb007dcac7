"""A run's files and secrets: in a data directory that keeps them, or gone with the run."""

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.demo.refusal import Refusal
from gateway.pos.webhooks import new_secret

_SECRETS_NAME = "secrets.json"
_LOCK_NAME = "demo.lock"


class Secrets(Struct, frozen=True):
    """What the parts of one shop sign with, and the key for the sandbox."""

    holdfast: str
    stripe_key: str
    stripe_webhook: str
    till: str

    def __repr__(self) -> str:
        return "Secrets(***)"


def new_secrets() -> Secrets:
    """Make secrets nobody has seen."""
    return Secrets(
        holdfast=secrets.token_urlsafe(32),
        stripe_key=f"sk_test_{secrets.token_hex(16)}",
        stripe_webhook=f"whsec_{secrets.token_hex(16)}",
        till=new_secret(secrets.token_bytes),
    )


@dataclass(frozen=True, slots=True)
class Home:
    """Where a run keeps its files. ``keeps``: they are there again in the next run."""

    root: Path
    keeps: bool
    secrets: Secrets

    @property
    def logs(self) -> Path:
        """The folder of the children's logs."""
        return self.root / "logs"

    @property
    def valkey(self) -> Path | None:
        """Where Valkey keeps its data, if it does."""
        return self.root / "valkey" if self.keeps else None

    def data(self, name: str) -> str:
        """The SQLite file of a part; what is not kept need not be written at all."""
        return str(self.root / f"{name}.sqlite") if self.keeps else ":memory:"


@contextlib.contextmanager
def open_home(data_dir: Path | None) -> Iterator[Home]:
    """Open a data directory and claim it, or make a directory that goes with the run.

    Raises:
        Refusal: the directory cannot be used, or another demo uses it.
    """
    with contextlib.ExitStack() as stack:
        try:
            home = _kept(data_dir, stack) if data_dir else _passing(stack)
            home.logs.mkdir(exist_ok=True)
        except OSError as error:
            where = data_dir or "a temporary directory"
            raise Refusal(f"The demo cannot use {where}: {error.strerror}.") from None
        yield home


def _passing(stack: contextlib.ExitStack) -> Home:
    root = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-"))
    return Home(Path(root), keeps=False, secrets=new_secrets())


def _kept(data_dir: Path, stack: contextlib.ExitStack) -> Home:
    root = data_dir.absolute()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(root / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refusal(f"Another holdfast demo is using {data_dir}.") from None
    return Home(root, keeps=True, secrets=_kept_secrets(root / _SECRETS_NAME))


def _kept_secrets(path: Path) -> Secrets:
    """The secrets of an earlier run: the kept orders and keys are signed with them."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except FileNotFoundError:
        made = new_secrets()
    except msgspec.DecodeError:
        raise Refusal(f"{path} is not readable; move it away to begin with new secrets.") from None
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(msgspec.json.encode(made))
    draft.replace(path)
    return made
