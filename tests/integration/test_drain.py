"""A gateway that is told to send its viewers elsewhere, by request."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.__main__ import main
from gateway.api.hall import Hall
from gateway.api.server import listening
from gateway.commands import drain as drain_command
from gateway.messages import SUBPROTOCOL
from gateway.metrics.serving import listen
from gateway.settings import Settings
from gateway.sockets import drain
from gateway.sockets.door import Door
from tests.front_door import problem
from tests.integration.conftest import UNLIMITED, Site, open_site
from tests.processes import free_port
from tests.shopper import PATIENCE_S


async def test_drained_by_request_it_sends_all_elsewhere_and_goes_on_to_answer(
    site: Site,
) -> None:
    await site.sells("tee", 5)
    key = site.rooms.tokens.sign_key(site.shop, ("admin",))
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=site.url, headers=headers) as client,
        site.shopper("ann") as ann,
        site.shopper("bob") as bob,
    ):
        held = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        answers = [await client.post("/drainz") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert [answer.json() for answer in answers] == [{"within_ms": 1000, "sockets": 2}] * 2
        not_ready = problem(await client.get("/readyz"), 503, "unavailable")
        assert not_ready["failing"] == ["draining"]
        assert ann.socket.close_code is None
        with pytest.raises(InvalidStatus) as refused:
            await connect(site.socket_url, subprotocols=[Subprotocol(SUBPROTOCOL)])
        assert refused.value.response.status_code == 503
        for viewer in (bob, ann):
            assert 0 < (await viewer.hears("drain"))["within_ms"] <= 900
        assert await bob.closed() == 1012
        assert ann.socket.close_code is None
        assert await ann.closed() == 1012
        async with asyncio.timeout(PATIENCE_S):
            await site.gateway.drain.over()
        assert (await client.get("/livez")).status_code == 200
        told = (await client.get("/metrics")).text
    assert 'holdfast_refused_total{reason="draining"} 1.0' in told
    assert 'holdfast_closes_total{by="gateway",code="1012"} 2.0' in told
    assert "holdfast_accepted_total 2.0" in told
    [hold] = await site.rooms.holds.of(site.shop, (held["hold"]["id"],))
    assert hold.state == "active"


async def test_a_second_signal_cuts_it_short_and_the_process_still_ends_in_order(
    settings: Settings,
) -> None:
    patient = msgspec.structs.replace(settings, drain_s=600)
    async with open_site(patient, UNLIMITED) as site:
        async with site.shopper("ann") as ann, site.shopper("bob") as bob:
            site.server.handle_exit(signal.SIGTERM, None)
            async with asyncio.timeout(PATIENCE_S):
                while not site.gateway.door.draining:
                    await asyncio.sleep(0.01)
            assert (ann.socket.close_code, bob.socket.close_code) == (None, None)
            site.server.handle_exit(signal.SIGINT, None)
            assert [await one.closed() for one in (ann, bob)] == [1012, 1012]
        assert not site.server.force_exit


@contextlib.asynccontextmanager
async def operated(settings: Settings) -> AsyncIterator[tuple[Site, httpx.AsyncClient]]:
    """A site with a port for operators, and a client of that port."""
    settings = msgspec.structs.replace(settings, metrics_port=free_port())
    async with (
        open_site(settings, UNLIMITED, operators=listen(settings)) as site,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.metrics_port}") as client,
    ):
        yield site, client


async def test_operators_have_a_port_of_their_own_and_only_they_are_told_how_it_goes(
    settings: Settings,
) -> None:
    async with operated(settings) as (site, operator), httpx.AsyncClient() as anybody:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await operator.get(path)).status_code == 200
        assert (await operator.post("/drainz")).status_code == 401
        for path in ("/", "/v1/catalog", "/config.json"):
            problem(await operator.get(path), 404, "not_found")
        for path in ("/livez", "/readyz", "/"):
            assert (await anybody.get(site.url + path)).status_code == 200
        problem(await anybody.get(f"{site.url}/metrics"), 404, "not_found")
        problem(await anybody.post(f"{site.url}/drainz"), 404, "not_found")
        address = str(operator.base_url).replace("http", "ws")
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{address}/v1/live", subprotocols=[Subprotocol(SUBPROTOCOL)])
        assert refused.value.response.status_code == 404


async def test_operators_see_it_fail_until_the_sockets_are_gone(settings: Settings) -> None:
    async with operated(settings) as (site, operator), site.shopper("ann") as ann:
        site.server.handle_exit(signal.SIGTERM, None)
        await site.gateway.drain.noticed.wait()
        async with httpx.AsyncClient() as anybody:
            while True:
                try:
                    await anybody.get(f"{site.url}/livez")
                except httpx.ConnectError:
                    break
        failing = problem(await operator.get("/readyz"), 503, "unavailable")["failing"]
        assert failing == ["draining"]
        assert await ann.closed() == 1012


async def test_the_command_waits_until_the_sockets_are_gone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drain_command, "_EVERY_S", 0.02)
    async with operated(settings) as (site, _), site.shopper("ann") as ann:
        told = {
            "HOLDFAST_SECRET": settings.secret,
            "HOLDFAST_SHOP": settings.shop,
            "HOLDFAST_HOST": "0.0.0.0",
            "HOLDFAST_METRICS_PORT": str(site.rooms.settings.metrics_port),
        }
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        reading = asyncio.create_task(ann.closed())
        assert await asyncio.to_thread(main, ["drain"]) == 0
        assert await reading == 1012
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "1 sockets are sent elsewhere within 1 s"
        assert said[-1] == "no socket is left"
        monkeypatch.setenv("HOLDFAST_SECRET", "another" * 5)
        assert await asyncio.to_thread(main, ["drain"]) == 1
    assert await asyncio.to_thread(main, ["drain"]) == 1
    assert "holdfast: the gateway at http://127.0.0.1:" in capsys.readouterr().err


class FakeTime:
    """Passes when somebody sleeps, and only then."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="# HELP holdfast_sockets Sockets open here.\n"),
        httpx.Response(200, text="holdfast_sockets_limit 10.0\n"),
        httpx.Response(503),
        httpx.ReadTimeout("it is busy"),
        httpx.ReadError("it broke"),
    ],
    ids=["no number", "another number", "refused", "late", "broken"],
)
def test_the_command_takes_no_silence_for_the_last_goodbye(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: httpx.Response | Exception,
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(drain_command, "time", clock)
    asked = []

    def gateway(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/drainz":
            return httpx.Response(202, json={"within_ms": 3_000, "sockets": 3})
        if isinstance(answer, Exception):
            raise answer
        return answer

    with httpx.Client(base_url="http://it", transport=httpx.MockTransport(gateway)) as client:
        assert drain_command._drain(client, settings) == 1
    assert asked.count("/metrics") > 1
    assert 3 < clock.now_s < 10
    assert capsys.readouterr().out.splitlines()[1:] == [
        "how many are left the gateway does not tell",
        "the time is over; how many are left the gateway does not tell",
    ]


def test_a_crowd_is_taken_in_several_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of a busy gateway is long; the control takes uvloop's one."""
    assert uvloop.run(turns_to_accept(40)) <= 40 / drain.ACCEPTED_A_TURN + 2
    monkeypatch.setattr(drain, "ACCEPTED_A_TURN", 1)
    assert uvloop.run(turns_to_accept(40)) >= 40


async def turns_to_accept(crowd: int) -> int:
    """How many turns of the loop it takes until all have been accepted who are in the queue."""
    hall = Hall(crowd, 60, 60, 60)
    config = uvicorn.Config(
        _silent, http=listening(hall), ws="none", lifespan="off", log_config=None, port=0
    )
    server = drain.Server(config, drain.Drain(Door(1), 0))
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.001)
    turns = 0
    with contextlib.ExitStack() as clients:
        address = server.servers[0].sockets[0].getsockname()
        for _ in range(crowd):
            clients.enter_context(socket.create_connection(address, PATIENCE_S))
        while len(hall) < crowd:
            turns += 1
            await asyncio.sleep(0)
    server.should_exit = True
    await running
    return turns


async def _silent(_: Any, receive: Any, __: Any) -> None:
    await receive()
