"""Shows: created, started, ended; the product pinned now; the questions viewers ask."""

import asyncio
from dataclasses import dataclass

import msgspec

from gateway.errors import Invalid, NotFound, ShowNotLive
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane, Reply
from gateway.model import Show, ShowState
from gateway.scripts import load

_QUESTIONS_KEPT_S = 30 * 86_400
_QUESTIONS = 1_000
"""Questions kept of one show; older ones are dropped, nobody counts on them."""

_SHOW = msgspec.json.Decoder(Show)


async def shops(lane: Lane) -> list[str]:
    """The shops this Redis knows, by name: all that ever had a product or a show."""
    return sorted(shop.decode() for shop in await lane.command("SMEMBERS", SHOPS))


@dataclass(frozen=True, slots=True)
class Shows:
    """Reads and changes shows, for any shop of this Redis."""

    lane: Lane

    async def put(self, shop: str, show: Show) -> Show:
        """Create a show, or change what it is called and when it starts; not its state."""
        await self.lane.command("SADD", SHOPS, shop)
        kept = msgspec.structs.replace(show, state="scheduled", highlight=None)
        return await self._set(shop, show.id, definition=msgspec.json.encode(kept))

    async def move(self, shop: str, show: str, state: ShowState) -> Show:
        """Start or end a show; again is fine.

        Raises:
            NotFound: there is none of this name.
            ShowNotLive: it has ended, and does not start again.
        """
        return await self._set(shop, show, state=state)

    async def highlight(self, shop: str, show: str, sku: str | None) -> Show:
        """Pin a product, or none.

        Raises:
            NotFound: there is no such show, or no such product.
        """
        if sku and not await self.lane.command("HEXISTS", ShopKeys(shop).catalog, sku):
            raise NotFound("This product is not in the catalogue.", sku=sku)
        return await self._set(shop, show, highlight=f"={sku or ''}")

    async def get(self, shop: str, show: str) -> Show:
        """Read a show.

        Raises:
            NotFound: there is none of this name.
        """
        names = (show, f"{show}:state", f"{show}:highlight")
        kept = await self.lane.command("HMGET", ShopKeys(shop).shows, *names)
        if kept[0] is None:
            raise NotFound("There is no such show.")
        return _show(*kept)

    async def ask(
        self, shop: str, show: str, shopper: str, text: str, asked: str, at_ms: int
    ) -> None:
        """Keep a viewer's question for the host, among the newest 1,000.

        ``asked`` is the caller's id of the question: the same one again, at whatever time, is
        the same question.

        Raises:
            Invalid: there are no words in it.
        """
        if not text.strip():
            raise Invalid("A question needs words.")
        key = ShopKeys(shop).questions(show)
        question = msgspec.json.encode((asked, shopper, text))
        await asyncio.gather(
            self.lane.command("ZADD", key, "NX", at_ms, question),
            self.lane.command("ZREMRANGEBYRANK", key, 0, -_QUESTIONS - 1),
            self.lane.command("EXPIRE", key, _QUESTIONS_KEPT_S),
        )

    async def _set(
        self,
        shop: str,
        show: str,
        *,
        definition: bytes = b"",
        state: str = "",
        highlight: str = "",
    ) -> Show:
        keys = ShopKeys(shop)
        reply: Reply = await self.lane.call(
            load("show_set"),
            (keys.meta, keys.shows, keys.news),
            (show, definition, state, highlight),
        )
        match reply:
            case [b"SHOW", *words]:
                return _show(*words)
            case [b"NOT_FOUND"]:
                raise NotFound("There is no such show.")
            case [b"ENDED"]:
                raise ShowNotLive("An ended show does not start again.", state="ended")
            case _:
                raise AssertionError(f"show_set said {reply}")


def _show(definition: bytes, state: bytes | None, highlight: bytes | None) -> Show:
    return msgspec.structs.replace(
        _SHOW.decode(definition),
        state=(state or b"scheduled").decode(),
        highlight=(highlight or b"").decode() or None,
    )
