"""News of a shop: what changed, published by whoever changed it, heard by every gateway.

Scripts publish stock and holds themselves, in the step that changes them; the rest is published
here. News travels by sharded pub/sub, so that in a cluster it stays on the shop's own node. It may
be lost: whoever needs the truth reads it (a gap in ``version`` says when).
"""

import asyncio
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.clock import rfc3339
from gateway.keys import ShopKeys
from gateway.lane import Lane, Reply
from gateway.messages import Frame, encode
from gateway.model import CatalogEntry, Fulfillment, Hold, Line, Money, ShowState


class News(Struct, frozen=True, omit_defaults=True):
    """One message. Which fields are set says what it is about."""

    epoch: int = 0
    version: int = 0
    """Of the stock, when ``stock`` is set; it rises by one with every message about stock."""
    at: int = 0
    """When the script decided, by Redis' clock, ms."""
    stock: dict[str, int] = {}
    """Units now available, of the skus that changed."""
    holds: tuple[tuple[str, ...], ...] = ()
    """shopper, and the words of a hold (see ``hold_from_words``)."""
    show: str | None = None
    """Alone: how it is called or when it starts has changed."""
    state: ShowState | None = None
    highlight: str | UnsetType = UNSET
    """With ``show``: the sku pinned now, empty when none is."""
    catalog: tuple[CatalogEntry, ...] = ()
    shopper: str | None = None
    frame: msgspec.Raw = msgspec.Raw()
    """With ``shopper``: a frame for that shopper's sockets, ready to be sent."""
    probe: str = ""
    """Nothing is new; the process of this name wants to know whether news is heard at all."""


_LINES = msgspec.json.Decoder(tuple[Line, ...])
_FULFILLMENT = msgspec.json.Decoder(Fulfillment)
_NEWS = msgspec.json.Decoder(News)


@lru_cache(maxsize=256)
def _lines(text: str) -> tuple[Line, ...]:
    """Kept, since in a rush thousands hold the same."""
    return _LINES.decode(text)


@lru_cache(maxsize=64)
def _fulfillment(text: str) -> Fulfillment:
    return _FULFILLMENT.decode(text)


def decode(message: bytes) -> News:
    """Read a message of the news channel."""
    return _NEWS.decode(message)


def hold_from_words(words: tuple[bytes, ...] | tuple[str, ...] | list[bytes]) -> Hold:
    """Build a hold from the words all scripts write it with.

    They are: id, state, lines (JSON), amount, currency, expires_at (ms), fulfillment (JSON).
    """
    texts = [word if isinstance(word, str) else word.decode() for word in words]
    hold, state, lines, amount, currency, expires_at, fulfillment = texts
    return Hold(
        id=hold,
        state=state,  # type: ignore[arg-type]  # the scripts write no other word
        lines=_lines(lines),
        total=Money(int(amount), currency),
        expires_at=rfc3339(int(expires_at)),
        fulfillment=_fulfillment(fulfillment),
    )


def publish(lane: Lane, shop: str, news: News) -> asyncio.Future[Reply]:
    """Tell every gateway that serves the shop."""
    return lane.command("SPUBLISH", ShopKeys(shop).news, msgspec.json.encode(news))


async def tell(lane: Lane, shop: str, shopper: str, frames: Iterable[Frame]) -> None:
    """Push frames to a shopper's sockets, wherever they are."""
    for frame in frames:
        await publish(lane, shop, News(shopper=shopper, frame=msgspec.Raw(encode(frame))))
