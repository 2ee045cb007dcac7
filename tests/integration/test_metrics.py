"""What Prometheus hears of a gateway that sells."""

import asyncio

import httpx
import msgspec

from gateway.metrics import registry_of_sweep, serve
from gateway.reconcile.differences import Difference
from gateway.reconcile.reconciler import Reconciler
from tests.integration.conftest import Site
from tests.processes import free_port


async def numbers(site: Site) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{site.url}/metrics")
    assert answer.status_code == 200
    lines = (line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    return {name: float(value) for name, value in lines}


async def test_a_sale_shows_in_the_numbers(site: Site) -> None:
    await site.sells("tee", 1)
    async with site.shopper("ann") as ann:
        await ann.buys("tee", "k1")
        await ann.ask("reserve", key="k2", lines=[{"sku": "tee", "quantity": 1}])
        told = await numbers(site)
    assert told["holdfast_viewers"] == 1
    assert told['holdfast_commands_total{outcome="ok",type="reserve"}'] == 1
    assert told['holdfast_commands_total{outcome="sold_out",type="reserve"}'] == 1
    assert told['holdfast_commands_total{outcome="ok",type="checkout"}'] == 1
    assert told["holdfast_redis_round_trips_total"] > 0
    async with asyncio.timeout(5):
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
    async with asyncio.timeout(5):
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


async def test_how_late_the_loop_is_shows_in_the_numbers(site: Site) -> None:
    async with asyncio.timeout(5):
        while not (told := await numbers(site))["holdfast_event_loop_lag_seconds_count"]:
            await asyncio.sleep(0.02)
    assert told['holdfast_event_loop_lag_seconds_bucket{le="+Inf"}'] >= 1


async def test_what_a_client_sends_is_no_label(site: Site) -> None:
    async with site.shopper("ann") as ann:
        await ann.ask("release", hold="h_secret")
    text = " ".join(await numbers(site))
    assert "h_secret" not in text
    assert "ann" not in text


async def test_a_sweep_tells_what_it_found_on_a_port_of_its_own(site: Site) -> None:
    reconciler = Reconciler(site.rooms.settler)
    reconciler.found[Difference.STRAY_CHARGE, True] += 3
    port = free_port()
    serve(
        msgspec.structs.replace(site.rooms.settings, metrics_port=port),
        registry_of_sweep(site.rooms, reconciler, {"a shop"}),
    )
    async with httpx.AsyncClient() as client:
        told = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'holdfast_differences_total{difference="stray_charge",repaired="true"} 3.0' in told
    assert 'holdfast_recovery_total{what="thawed"} 0.0' in told
    assert "holdfast_clocks_off 1.0" in told


async def test_without_a_port_nothing_is_opened(site: Site) -> None:
    serve(site.rooms.settings, registry_of_sweep(site.rooms, Reconciler(site.rooms.settler), ()))
