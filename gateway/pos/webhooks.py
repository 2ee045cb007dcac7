"""Where a shop wants its orders pushed to: its webhooks, by name.

Each has a consumer group of the same name on the shop's orders, made by the relay.
"""

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from gateway.errors import Invalid, LimitExceeded
from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs
from gateway.model import ID_PATTERN
from gateway.scripts import load

log = logging.getLogger(__name__)

SECRET_PREFIX = "whsec_"  # noqa: S105 (the prefix every such secret has)
SECRET_BYTES = 32
_SECRET_BYTES_ALLOWED = range(24, 65)
"""What Standard Webhooks asks of a symmetric secret."""
_MAX_URL = 2_000
MOST_WEBHOOKS = 20
"""Of one shop. Each has a place in the stream, a queue, connections, and numbers of its own."""


class Webhook(Struct, frozen=True):
    """A push target: where to, signed with what, and whether deliveries are on.

    Raises, when made or decoded:
        ValueError: the address or the secret is not usable; the message never repeats it.
    """

    url: str
    secret: str
    active: bool = True

    def __post_init__(self) -> None:
        _check_url(self.url)
        _check_secret(self.secret)

    def __repr__(self) -> str:
        # The query of an address may hold a key, too.
        return f"Webhook(url={self.url.partition('?')[0]!r}, secret='***', active={self.active})"


def new_secret(entropy: Callable[[int], bytes]) -> str:
    """Make a secret from as many random bytes as ``entropy`` is asked for (``secrets``)."""
    return SECRET_PREFIX + base64.b64encode(entropy(SECRET_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class WebhookBook:
    """The webhooks of one shop."""

    lane: Lane
    shop: str

    async def put(self, name: str, webhook: Webhook) -> None:
        """Set a webhook; a running relay follows within a second or so.

        Raises:
            Invalid: the name is no id.
            LimitExceeded: the shop has as many as it may; a few more come in if they are set at
                once.
        """
        if not re.fullmatch(ID_PATTERN, name):
            raise Invalid("a webhook's name has 1 to 64 letters, digits, _ and -")
        key = ShopKeys(self.shop).webhooks
        count, known = await asyncio.gather(
            self.lane.command("HLEN", key), self.lane.command("HEXISTS", key, name)
        )
        if count >= MOST_WEBHOOKS and not known:
            raise LimitExceeded("This shop has all the webhooks it may.", limit=MOST_WEBHOOKS)
        await self.lane.command("HSET", key, name, msgspec.json.encode(webhook))

    async def all(self) -> dict[str, Webhook]:
        """Every webhook by name; one that cannot be read is left out, and logged by its name."""
        book = {}
        kept = pairs(await self.lane.command("HGETALL", ShopKeys(self.shop).webhooks))
        for name, value in kept.items():
            try:
                book[name] = msgspec.json.decode(value, type=Webhook)
            except msgspec.DecodeError:
                log.error("relay: webhook %s of shop %s is not readable", name, self.shop)
        return book

    async def remove(self, name: str) -> bool:
        """Remove a webhook, its group and what is parked for it; ``False`` if there was none."""
        keys = ShopKeys(self.shop)
        reply = await self.lane.call(
            load("webhook_remove"),
            [keys.webhooks, keys.orders, keys.parked(name), keys.redrive(name)],
            [name],
        )
        return bool(reply[0] == b"REMOVED")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        raise ValueError("url is not an address") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("url must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not carry credentials; deliveries are signed instead")
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"url must be at most {_MAX_URL} printable ASCII characters")


def _check_secret(secret: str) -> None:
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if encoded == secret or len(key) not in _SECRET_BYTES_ALLOWED:
        raise ValueError("secret must be whsec_ and the base64 of 24 to 64 bytes")
