"""What Prometheus hears of a gateway that sells."""

import asyncio

import httpx

from tests.integration.conftest import Site


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


async def test_what_a_client_sends_is_no_label(site: Site) -> None:
    async with site.shopper("ann") as ann:
        await ann.ask("release", hold="h_secret")
    text = " ".join(await numbers(site))
    assert "h_secret" not in text
    assert "ann" not in text
