"""What Prometheus hears of a gateway that sells."""

import asyncio
import contextlib

import httpx
from prometheus_client import generate_latest
from websockets.exceptions import ConnectionClosed

from gateway.metrics.sweep import registry_of_sweep
from gateway.readiness import FAILINGS
from gateway.reconcile.differences import Difference
from gateway.reconcile.reconciler import Reconciler
from tests.integration.conftest import Site


async def numbers(site: Site) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{site.url}/metrics")
    assert answer.status_code == 200
    return read(answer.text)


def read(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    return {name: float(value) for name, value in lines}


async def test_a_sale_shows_in_the_numbers(site: Site) -> None:
    await site.sells("tee", 1)
    site.gateway.hall.refused, site.gateway.hall.cut = 2, 3
    async with site.shopper("ann") as ann:
        await ann.buys("tee", "k1")
        await ann.ask("reserve", key="k2", lines=[{"sku": "tee", "quantity": 1}])
        told = await numbers(site)
    assert told["holdfast_viewers"] == 1
    assert told['holdfast_commands_total{outcome="ok",type="reserve"}'] == 1
    assert told['holdfast_commands_total{outcome="sold_out",type="reserve"}'] == 1
    assert told['holdfast_commands_total{outcome="ok",type="checkout"}'] == 1
    for kind, count in (("reserve", 2), ("checkout", 1)):
        assert told[f'holdfast_command_seconds_count{{type="{kind}"}}'] == count
    assert told["holdfast_redis_round_trips_total"] > 0
    assert told['holdfast_redis_round_trip_seconds_count{kind="plain"}'] > 0
    assert told['holdfast_purchases_total{outcome="captured",reason=""}'] == 1
    for endpoint in ("create", "capture"):
        assert told[f'holdfast_stripe_requests_total{{endpoint="{endpoint}",outcome="ok"}}'] == 1
        assert told[f'holdfast_stripe_request_seconds_count{{endpoint="{endpoint}"}}'] == 1
    assert told["holdfast_sockets"] == 1
    assert told["holdfast_sockets_limit"] == site.rooms.settings.sockets
    assert told["holdfast_draining"] == 0
    assert told["holdfast_connections"] == 1  # who asks; ann's became a socket
    assert told["holdfast_connections_refused_total"] == 2
    assert told["holdfast_connections_cut_total"] == 3
    async with asyncio.timeout(30):
        while (await numbers(site))["holdfast_viewers"]:
            await asyncio.sleep(0.02)


async def test_what_viewers_were_told_shows_in_the_numbers_and_adds_up(site: Site) -> None:
    await site.sells("tee", 9)
    async with site.shopper("ann") as ann, site.shopper("bob") as bob:
        feed = await site.gateway.listener.feed(site.shop)
        first = feed.version
        for key in ("k1", "k2", "k3"):
            await ann.ask("reserve", key=key, lines=[{"sku": "tee", "quantity": 1}])
        await bob.hears("stock", items={"tee": 6})
    async with asyncio.timeout(30):
        while (told := await numbers(site))["holdfast_viewers"]:
            await asyncio.sleep(0.02)
    outcomes = ("delivered", "conflated", "dropped")
    became = [told.get(f'holdfast_stock_values_total{{outcome="{one}"}}', 0) for one in outcomes]
    assert sum(became) == 2 * (feed.version - first) > 0
    assert told['holdfast_frames_written_total{kind="stock"}'] == became[0]
    assert told['holdfast_frames_written_total{kind="reply"}'] == 2 + 3
    assert told['holdfast_frames_written_total{kind="push"}'] >= 3
    assert told['holdfast_closes_total{by="peer",code="1000"}'] == 2
    stale = "holdfast_stock_staleness_seconds"
    assert told[f'{stale}_count{{kind="other"}}'] == became[0]
    assert told[f'{stale}_bucket{{kind="other",le="+Inf"}}'] == became[0]
    assert told[f'{stale}_sum{{kind="other"}}'] < 10


async def test_whoever_floods_is_counted_among_those_we_closed(site: Site) -> None:
    """Frames that no listener of ours hears of: the server ends the socket by itself."""
    await site.sells("tee", 1)
    async with site.shopper("ann") as ann, site.shopper("bob") as bob:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(1_000):
                await ann.socket.ping()
        await bob.socket.send(b"\xff", text=True)
        assert [await ann.closed(), await bob.closed()] == [4029, 1007]
    async with asyncio.timeout(30):
        while (told := await numbers(site))["holdfast_viewers"]:
            await asyncio.sleep(0.02)
    closes = {name: count for name, count in told.items() if "holdfast_closes_total" in name}
    assert closes == {
        f'holdfast_closes_total{{by="gateway",code="{code}"}}': 1 for code in ("4029", "1007")
    }


async def test_why_a_gateway_is_not_ready_shows_once_it_was_asked(site: Site) -> None:
    def reasons(told: dict[str, float]) -> dict[str, float]:
        return {name: count for name, count in told.items() if "holdfast_not_ready" in name}

    assert reasons(await numbers(site)) == {}
    async with httpx.AsyncClient() as client:
        await client.get(f"{site.url}/readyz")
        named = [f'holdfast_not_ready{{reason="{word}"}}' for word in FAILINGS]
        assert reasons(await numbers(site)) == dict.fromkeys(named, 0)
        site.gateway.door.draining = True
        assert (await client.get(f"{site.url}/readyz")).status_code == 503
    assert reasons(await numbers(site)) == dict.fromkeys(named, 0) | {
        'holdfast_not_ready{reason="draining"}': 1
    }


async def test_how_late_the_loop_is_shows_in_the_numbers(site: Site) -> None:
    async with asyncio.timeout(30):
        while not (told := await numbers(site))["holdfast_event_loop_lag_seconds_count"]:
            await asyncio.sleep(0.02)
    assert told['holdfast_event_loop_lag_seconds_bucket{le="+Inf"}'] >= 1


async def test_what_a_client_sends_is_no_label(site: Site) -> None:
    async with site.shopper("ann") as ann:
        await ann.ask("release", hold="h_secret")
    text = " ".join(await numbers(site))
    assert "h_secret" not in text
    assert "ann" not in text


async def test_a_sweep_tells_what_it_found_and_what_waits(site: Site) -> None:
    await site.sells("tee", 3)
    sweep, reconciler = site.sweep(), Reconciler(site.rooms.settler)
    reconciler.found[Difference.STRAY_CHARGE, True] += 3
    sweep.jumped.add("a shop")
    async with site.shopper("ann") as ann:
        await ann.ask("reserve", key="k1", lines=[{"sku": "tee", "quantity": 1}])
    await sweep.backlog.look()
    told = read(generate_latest(registry_of_sweep(sweep, reconciler)).decode())
    assert told['holdfast_differences_total{difference="stray_charge",repaired="true"}'] == 3
    assert told['holdfast_recovery_total{what="thawed"}'] == 0
    assert told["holdfast_clocks_off"] == 1
    assert told["holdfast_holds_active"] >= 1
    assert told["holdfast_shops"] >= 1
    assert told["holdfast_redis_replicas"] == told["holdfast_redis_replicas_wanted"] == 0
    assert told["holdfast_redis_fullness_ratio"] == 0
    assert told["holdfast_sweep_turn_age_seconds"] < 60
