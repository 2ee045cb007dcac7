"""The port on which a relay or a sweep answers Prometheus and probes."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest

from gateway import readiness
from gateway.clock import SystemClock
from gateway.durability import Durability
from gateway.lane import Lane
from gateway.metrics import serving
from gateway.metrics.relay import registry_of_relay
from gateway.metrics.serving import Health, answering, listen
from gateway.pulse import Pulse
from gateway.readiness import Readiness
from gateway.sandbox.warden import Warden
from gateway.settings import Settings, SettingsError
from tests.front_door import problem
from tests.processes import Process, environment, free_port


@dataclass
class Office:
    """A process' port, and the pulse of its main turn."""

    url: str
    port: int
    turn: Pulse
    client: httpx.AsyncClient = field(repr=False)

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(f"{self.url}{path}")


@asynccontextmanager
async def opened(
    settings: Settings, lane: Lane, turn: Pulse | None = None
) -> AsyncIterator[Office]:
    """A port that answers for a process with this lane."""
    port, turn = free_port(), turn or Pulse()
    settings = msgspec.structs.replace(settings, metrics_port=port)
    clock = SystemClock()
    asked = Readiness(lane, Durability(lane, settings, clock), clock)
    health = Health(registry_of_relay(lane, turn), turn, asked)
    async with answering(listen(settings), health), httpx.AsyncClient() as client:
        yield Office(f"http://127.0.0.1:{port}", port, turn, client)


async def test_it_answers_prometheus_and_both_probes_and_nothing_else(
    settings: Settings, lane: Lane
) -> None:
    async with opened(settings, lane) as office:
        assert (await office.get("/livez")).json() == {"status": "alive"}
        assert (await office.get("/readyz")).json() == {"status": "ready"}
        told = (await office.get("/metrics")).text
        assert 'holdfast_build_info{version="' in told
        assert "holdfast_relay_turn_age_seconds" in told
        assert (await office.get("/")).status_code == 404
        assert (await office.client.post(f"{office.url}/livez")).status_code == 405


async def test_asked_for_more_it_says_in_words_what_undermines_a_promise(
    settings: Settings, lane: Lane
) -> None:
    async with opened(settings, lane) as office:
        told = (await office.get("/readyz?verbose")).json()
    assert told["mode"].startswith("captures at once")
    assert "no_aof" in {finding["code"] for finding in told["findings"]}


async def test_without_redis_it_is_alive_and_not_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PING_WITHIN_S", 0.1)
    async with opened(settings, Lane(settings)) as office:  # Nobody serves this lane.
        told = problem(await office.get("/readyz?verbose"), 503, "unavailable")
        assert told["failing"] == ["redis"]
        assert told["findings"][0]["code"] == "redis"
        assert (await office.get("/livez")).status_code == 200


async def test_a_turn_that_does_not_get_on_is_not_alive(settings: Settings, lane: Lane) -> None:
    class Late(SystemClock):
        late_s = 0.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self.late_s

    clock = Late()
    async with opened(settings, lane, Pulse(clock)) as office:
        assert (await office.get("/livez")).status_code == 200
        clock.late_s = serving.TURN_STUCK_S + 1
        answer = await office.get("/livez")
        assert answer.status_code == 503
        assert "restart" in answer.json()["detail"]
        office.turn.beat()
        assert (await office.get("/livez")).status_code == 200


async def test_a_loop_that_hangs_is_said_not_to_be_alive_while_it_hangs(
    settings: Settings, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LOOP_STUCK_S", 0.2)
    monkeypatch.setattr(serving, "_FEEL_EVERY_S", 0.05)
    async with opened(settings, lane) as office:

        def ask_until_stuck() -> list[int]:
            """Held here, the loop cannot move."""
            seen = []
            for _ in range(200):
                seen.append(httpx.get(f"{office.url}/livez").status_code)
                if seen[-1] == 503:
                    break
            # What must be read on the main loop is refused at once.
            seen.append(httpx.get(f"{office.url}/metrics").status_code)
            return seen

        assert ask_until_stuck()[-2:] == [503, 503]
        async with asyncio.timeout(30):
            while (await office.get("/livez")).status_code != 200:
                await asyncio.sleep(0.02)


async def test_whoever_sends_nothing_or_too_much_is_hung_up_on_and_keeps_nobody_waiting(
    settings: Settings, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_WITHIN_S", 0.3)
    async with opened(settings, lane) as office:
        silent = [
            await asyncio.open_connection("127.0.0.1", office.port)
            for _ in range(serving._AT_ONCE - 1)
        ]
        assert (await office.get("/livez")).status_code == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", office.port)
        writer.write(b"GET /livez HTTP/1.1\r\nx: " + b"x" * 2 * serving._HEAD_BYTES)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
            for one, _ in silent:
                assert await one.read() == b""
        for _, other in (*silent, (reader, writer)):
            other.close()


async def test_it_ends_with_its_process(settings: Settings, lane: Lane) -> None:
    async with opened(settings, lane) as office:
        assert "metrics" in {thread.name for thread in threading.enumerate()}
    assert "metrics" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", office.port), timeout=1)


async def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as refused:
            listen(msgspec.structs.replace(settings, metrics_port=port))
    sentence = f"HOLDFAST_METRICS_PORT cannot be used: 127.0.0.1:{port}: address already in use."
    assert str(refused.value) == sentence


async def test_without_a_port_nothing_is_opened(settings: Settings) -> None:
    assert settings.metrics_port == 0
    assert listen(settings) is None


@pytest.mark.parametrize(
    ("command", "figure"),
    [("relay", "holdfast_relay_turn_age_seconds"), ("sweep", "holdfast_backlog_age_seconds")],
)
async def test_a_real_process_answers_there_and_stops_cleanly(
    warden: Warden, redis_url: str, shop: str, command: str, figure: str
) -> None:
    port = free_port()
    stripe = f"http://127.0.0.1:{free_port()}"  # Nobody is there, and nobody pays.
    env = environment(redis_url, stripe, shop, metrics_port=port, environment=shop)
    async with Process(warden, ["-m", "gateway", command], env) as process:
        await process.answers(f"http://127.0.0.1:{port}/readyz")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/livez")).json() == {"status": "alive"}
            assert figure in (await client.get("/metrics")).text
        assert await process.stop() == 0
