"""What real servers say of themselves, well set and badly, and how an SRE hears of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import durability as durability_module
from gateway.clock import SystemClock
from gateway.durability import Durability, Report
from gateway.lane import Lane
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from tests.integration.conftest import Site
from tests.processes import free_port
from tests.sales import eventually
from tests.stall import settings_for

PATIENCE_S = 10


@dataclass
class Hours(SystemClock):
    """A clock that is told how late it is."""

    ahead_s: float = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@pytest.fixture
async def alone(warden: Warden) -> AsyncIterator[EmbeddedValkey]:
    """A Redis of one's own that keeps no file."""
    with EmbeddedValkey(warden.group, port=0) as server:
        yield server


def durability(url: str, clock: SystemClock | None = None, **settings: int) -> Durability:
    told = settings_for(url, "any", **settings)
    return Durability(Lane(told), told, clock or SystemClock())


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        ({"maxmemory-policy": "volatile-lru"}, ["eviction"]),
        ({"user": "default on nopass ~* &* +@all -config -waitaof"}, ["hidden", "no_wait"]),
    ],
)
async def test_a_server_with_a_file(
    warden: Warden, tmp_path: Path, config: Mapping[str, str], expected: list[str]
) -> None:
    server = EmbeddedValkey(
        warden.group, port=0, data_dir=tmp_path, appendfsync="always", config=config
    )
    with server:
        assert codes(await durability(server.url, wait_fsync=True).report()) == expected


async def test_a_server_without_a_file_or_replicas(alone: EmbeddedValkey) -> None:
    report = await durability(alone.url, wait_replicas=1).report()
    assert codes(report) == ["no_aof", "too_few_replicas"]
    assert "WAIT" in report.mode


async def test_it_is_asked_again_only_after_a_while(alone: EmbeddedValkey) -> None:
    clock = Hours()
    asked = durability(alone.url, clock)
    before = await asked.report()
    assert codes(before) == ["no_aof"]
    alone._ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    assert await asked.report() is before
    clock.ahead_s = 60
    assert codes(await asked.report()) == ["no_aof", "eviction"]


async def test_a_server_that_is_not_there_is_a_finding() -> None:
    async with asyncio.timeout(PATIENCE_S):
        report = await durability(f"redis://127.0.0.1:{free_port()}").report()
    assert codes(report) == ["silent"]


async def test_when_the_server_of_the_settings_is_away_another_of_the_cluster_is_asked(
    alone: EmbeddedValkey,
) -> None:
    asked = durability(f"redis://127.0.0.1:{free_port()}")
    asked.lane._servers.append(("127.0.0.1", alone.port))
    assert codes(await asked.report()) == ["no_aof"]


async def test_it_is_said_in_the_log(
    alone: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    await durability(alone.url).log()
    ours = [record for record in caplog.records if record.name == "gateway.durability"]
    said = [(record.levelname, record.getMessage()) for record in ours]
    assert said[0] == (
        "INFO",
        "durability: captures at once: only this server's disk has the sale",
    )
    assert [(level, text.split(":")[1].strip()) for level, text in said[1:]] == [
        ("WARNING", "no_aof")
    ]


async def test_what_a_server_was_too_busy_to_tell_is_said_once_it_tells(
    warden: Warden, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability_module, "_SILENT_S", 0.01)
    caplog.set_level(logging.WARNING, "gateway")
    port = free_port()
    telling = asyncio.create_task(durability(f"redis://127.0.0.1:{port}").log())

    async def says_silent() -> bool:
        return "durability: silent" in caplog.text

    await eventually(says_silent)
    with EmbeddedValkey(warden.group, port=port):
        async with asyncio.timeout(PATIENCE_S):
            await telling
    ours = [record for record in caplog.records if record.name == "gateway.durability"]
    said = [record.getMessage().split(":")[1].strip() for record in ours]
    assert [word for word in said if word in {"silent", "no_aof"}] == ["silent", "no_aof"]


async def test_a_gateway_says_it_at_its_start(
    site: Site, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def said() -> bool:
        records = caplog.get_records("setup") + caplog.get_records("call")
        return any("durability: no_aof" in record.getMessage() for record in records)

    assert site.rooms.durability.settings.redis_url == settings.redis_url
    await eventually(said)
