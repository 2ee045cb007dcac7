"""What tests share: one real Valkey for the whole run, and a shop of one's own for each test."""

import functools
import os
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sandbox.valkey import EmbeddedValkey, ValkeyMissingError
from gateway.sandbox.warden import Warden
from tests.depth import DEEP

_LONG_FIRST = ("acceptance", "race", "property", "browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only played in depth, unless files were named.

    Files are shared out in this order; a long one at the end would leave the others idle.
    """
    if not DEEP and config.args_source.name != "ARGS":
        items[:] = [item for item in items if not item.get_closest_marker("only_deep")]

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return _LONG_FIRST.index(folder) if folder in _LONG_FIRST else len(_LONG_FIRST)

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def certificates() -> Iterator[None]:
    """The system's certificates are read once: each HTTP client would, for 50 ms of CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def warden() -> Iterator[Warden]:
    """Sees to it that no process started by a test outlives the run."""
    with Warden() as warden:
        yield warden


@pytest.fixture(scope="session")
def valkey(warden: Warden) -> Iterator[EmbeddedValkey]:
    """A one-node cluster, so that a script which leaves its slot fails here, not in production."""
    try:
        with EmbeddedValkey(warden.group, cluster=True) as server:
            yield server
    except ValkeyMissingError as missing:
        if "CI" in os.environ:
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_url(valkey: EmbeddedValkey) -> str:
    """The address of ``valkey``; the tests share its data, so nobody may flush it."""
    return valkey.url


@pytest.fixture
def shop() -> str:
    """A shop no other test knows, in place of an empty database."""
    return f"shop_{uuid.uuid4().hex}"
