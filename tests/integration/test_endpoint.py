"""A shopper's walk over a real socket, and every way a client can get it wrong."""

from tests.integration.conftest import Site
from tests.shopper import connected


async def test_the_whole_walk(site: Site) -> None:
    await site.sells("tee", 3)
    async with site.shopper("ann") as ann, site.shopper("bob") as bob:
        held = await ann.ask("reserve", key="k1", lines=[{"sku": "tee", "quantity": 2}])
        assert held["hold"]["total"] == {"amount": 3000, "currency": "EUR"}
        await bob.hears("stock", items={"tee": 1})
        paid = await ann.pays(held["hold"])
        assert paid["state"] == "confirmed", paid
        assert paid["order"]["state"] == "confirmed"
        order = await ann.hears("order")
        assert order["order"]["id"] == paid["order"]["id"]
