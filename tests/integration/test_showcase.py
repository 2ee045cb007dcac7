"""What is shown of the stock is what Redis has, also when it moves while it is read."""

import pytest

from gateway.model import Fulfillment, LineRequest
from gateway.stock.movements import Movements
from tests.integration.conftest import SHOW, Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_who_knew_the_stock_is_told_what_changes_while_it_is_read_again(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read after the version may be newer; then its news brings nothing new to us."""
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann:
        feed = await corner.gateway.listener.feed(corner.shop)
        known, read, sold = feed.version, Movements.available, False

        async def available(movements: Movements, shop: str) -> dict[str, int]:
            nonlocal sold
            if shop == corner.shop and not sold:
                sold = True
                lines = (LineRequest("tee", 3),)
                await corner.rooms.holds.reserve(shop, "bob", SHOW, "k", lines, Fulfillment())
            return await read(movements, shop)

        monkeypatch.setattr(Movements, "available", available)
        ear = corner.gateway.listener._channels[corner.shop].ear
        assert ear
        ear.hang_up()
        await ann.hears("stock", items={"tee": 0})
        assert (sold, feed.version) == (True, known + 1)
