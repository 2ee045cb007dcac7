"""A gateway that is told to send its viewers elsewhere, by request."""

import asyncio
import signal

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.messages import SUBPROTOCOL
from gateway.settings import Settings
from tests.front_door import problem
from tests.integration.conftest import UNLIMITED, Site, open_site
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
