"""What an orchestrator sees."""

import asyncio
import dataclasses

import msgspec
import pytest
from prometheus_client import CONTENT_TYPE_LATEST

from gateway import readiness
from gateway.checkout.desk import Desk
from gateway.lane import Address, Lane
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.sockets.drain import Begun
from tests.front_door import Door, open_door, problem


async def test_a_serving_process_is_alive_and_ready(door: Door) -> None:
    assert await door.get("/livez") == {"status": "alive"}
    assert await door.get("/readyz") == {"status": "ready"}


async def test_asked_for_more_it_says_which_mode_holds_and_what_undermines_it(door: Door) -> None:
    told = await door.get("/readyz", verbose="")
    assert told["status"] == "ready"
    assert told["mode"].startswith("captures at once")
    assert {finding["code"] for finding in told["findings"]} == {
        "no_aof",
        "wait_off",
        "full_coverage",
    }
    assert all(finding["message"].endswith(".") for finding in told["findings"])


async def test_a_draining_process_is_alive_and_not_ready(rooms: Rooms) -> None:
    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    async with open_door(rooms, desk, lambda: True) as door:
        told = problem(await door.ask("GET", "/readyz"), 503, "unavailable")
        assert told["failing"] == ["draining"]
        assert await door.get("/livez") == {"status": "alive"}


async def test_a_key_of_the_installations_own_shop_drains_the_process(rooms: Rooms) -> None:
    begun: list[Begun] = []

    def begin() -> Begun:
        begun.append(Begun(within_ms=20_000, sockets=7))
        return begun[0]

    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    async with open_door(rooms, desk, drain=begin) as door:
        problem(await door.ask("POST", "/drainz"), 401, "unauthenticated")
        problem(await door.ask("POST", "/drainz", "host", "pos"), 403, "forbidden")
        other = rooms.tokens.sign_key("another_shop", ("admin",))
        headers = {"authorization": f"Bearer {other}"}
        problem(await door.ask("POST", "/drainz", headers=headers), 403, "forbidden")
        assert begun == []
        for _ in range(2):
            answer = await door.ask("POST", "/drainz", "admin")
            assert answer.status_code == 202
            assert answer.json() == {"within_ms": 20_000, "sockets": 7}


async def test_without_redis_it_is_alive_and_not_ready_and_says_so_in_time(
    rooms: Rooms, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PING_WITHIN_S", 0.1)
    silent = Lane(settings)  # Nobody serves it, so nothing is ever answered.
    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    async with open_door(dataclasses.replace(rooms, lane=silent), desk) as door:
        async with asyncio.timeout(30):
            told = problem(await door.ask("GET", "/readyz"), 503, "unavailable")
        assert told["failing"] == ["redis"]
        assert await door.get("/livez") == {"status": "alive"}


@dataclasses.dataclass
class Hearing:
    """A process that hears the news of some servers, and not of others."""

    deaf: bool
    unheard: tuple[Address, ...]


async def test_a_process_whose_viewers_hear_nothing_new_is_not_ready(rooms: Rooms) -> None:
    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    async with open_door(rooms, desk, hearing=Hearing(deaf=True, unheard=())) as door:
        told = problem(await door.ask("GET", "/readyz"), 503, "unavailable")
        assert told["failing"] == ["news"]


UNHEARD = (("10.0.0.2", 7002), ("10.0.0.1", 7001))


async def test_servers_of_a_cluster_that_are_not_heard_fail_nobody_and_are_named_to_sres_alone(
    rooms: Rooms,
) -> None:
    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    hearing = Hearing(deaf=False, unheard=UNHEARD)
    async with open_door(rooms, desk, hearing=hearing) as door:
        assert await door.get("/readyz") == {"status": "ready", "silent_servers": 2}
        assert "10.0.0." not in (await door.ask("GET", "/readyz?verbose")).text
        another = rooms.tokens.sign_key("another_shop", ("admin",))
        for headers in (door.key("pos"), {"authorization": f"Bearer {another}"}):
            assert "10.0.0." not in (await door.ask("GET", "/readyz", headers=headers)).text
        told = await door.get("/readyz", "admin", verbose="")
        assert told["silent"] == ["10.0.0.1:7001", "10.0.0.2:7002"]
        servers = [one["servers"] for one in told["findings"] if one["code"] == "servers"]
        assert servers == [told["silent"]]


async def test_on_the_port_for_sres_addresses_are_told_without_a_key(rooms: Rooms) -> None:
    # The port by which the front door of these tests is asked.
    settings = msgspec.structs.replace(rooms.settings, metrics_port=8080)
    desk = Desk(rooms.settler, settings, rooms.rng)
    hearing = Hearing(deaf=False, unheard=UNHEARD)
    async with open_door(
        dataclasses.replace(rooms, settings=settings), desk, hearing=hearing
    ) as door:
        assert (await door.get("/readyz"))["silent"] == ["10.0.0.1:7001", "10.0.0.2:7002"]


async def test_who_is_not_ready_says_in_words_what_is_wrong_and_what_to_do(rooms: Rooms) -> None:
    desk = Desk(rooms.settler, rooms.settings, rooms.rng)
    hearing = Hearing(deaf=True, unheard=())
    async with open_door(rooms, desk, lambda: True, hearing) as door:
        short = problem(await door.ask("GET", "/readyz"), 503, "unavailable")
        assert "findings" not in short
        told = problem(await door.ask("GET", "/readyz?verbose"), 503, "unavailable")
    assert told["failing"] == ["draining", "news"]
    said = {finding["code"]: finding["message"] for finding in told["findings"]}
    assert {"draining", "news", "no_aof"} <= said.keys()
    assert all(message.endswith(".") and len(message) > 40 for message in said.values())


async def test_metrics_are_those_of_the_registry(door: Door) -> None:
    answer = await door.ask("GET", "/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE_LATEST
    assert "holdfast_tests_total 1.0" in answer.text
