"""Where a delivery may go: to public addresses, and to the networks the settings name.

A webhook's address is chosen by a shop, and called from inside our network: unfenced, it reaches
whatever only we can reach, such as a cloud's metadata. A name is resolved once, and the connection
is made to what it was resolved to and to nothing else, so that no name can mean one thing when it
is looked at and another when it is called. TLS still asks for a certificate of the name.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpcore
import httpx
from httpcore import SOCKET_OPTION

from gateway.environment import listed

FENCED = "its address is not public, and HOLDFAST_WEBHOOK_TARGETS does not name it"
"""Why a delivery was not made."""
LOOK_UP_S = 3.0
"""How long looking up a name may take while somebody waits for it."""
_MOST_TRIED = 4
"""Addresses of one name that are tried, one after the other."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]
"""The addresses of a host, in the order in which they are to be tried; raises OSError."""

_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; a cloud's metadata is there, too
        "127.0.0.0/8",
        "168.63.129.16/32",  # public to look at, and Azure's platform for each of its machines
        "169.254.0.0/16",  # link-local: the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # Teredo and others that embed or tunnel
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
"""What no public address is in, by the registries of special addresses."""
_PUBLIC_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class FencedOffError(Exception):
    """A delivery would go where it may not."""

    def __init__(self) -> None:
        super().__init__(FENCED)


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Fence:
    """Which addresses may be called: public ones, and those in ``inside``."""

    inside: tuple[Network, ...] = ()
    resolve: Resolve = resolve

    @classmethod
    def around(cls, webhook_targets: str) -> "Fence":
        """The fence of a setting that was checked."""
        return cls(tuple(ip_network(one) for one in listed(webhook_targets)))

    def allows(self, address: str) -> bool:
        """Whether a connection may be made to an address."""
        plain = _plain(ip_address(address))
        return any(plain in network for network in self.inside) or _is_public(plain)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be called.

        Raises:
            FencedOffError: it has addresses, and none of them may be.
            OSError: it has none.
        """
        found = await self.resolve(host, port)
        good = [address for address in found if self.allows(address)]
        if not good:
            raise FencedOffError
        return good

    async def look(self, url: str) -> None:
        """Look at an address before it is kept; a name that nobody knows yet may be known later.

        Raises:
            FencedOffError: a delivery would go where it may not.
        """
        parts = httpx.URL(url)
        try:
            async with asyncio.timeout(LOOK_UP_S):
                await self.addresses(parts.host, parts.port or 0)
        except (OSError, UnicodeError):
            return  # A timeout is an OSError, too.


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as one of IPv6, as what it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if any(address in network for network in _SPECIAL):
        return False
    return isinstance(address, IPv4Address) or address in _PUBLIC_V6


class _Wire(httpcore.AsyncNetworkBackend):
    """Connects to what a host is resolved to, where the fence allows it."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is the library's
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = (await self._fence.addresses(host, port))[:_MOST_TRIED]
                each_s = timeout / len(addresses) if timeout else None
                for address in addresses[:-1]:
                    try:
                        return await self._plain.connect_tcp(
                            address, port, each_s, local_address, socket_options
                        )
                    except (httpcore.ConnectError, httpcore.ConnectTimeout):
                        continue
                return await self._plain.connect_tcp(
                    addresses[-1], port, each_s, local_address, socket_options
                )
        except TimeoutError:
            raise httpcore.ConnectTimeout from None
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from None

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)


class FencedTransport(httpx.AsyncHTTPTransport):
    """The way of an ``httpx`` client that goes nowhere but where the fence allows.

    It knows no proxies: they would resolve the name once more, out of our sight.
    """

    def __init__(self, fence: Fence, tls: ssl.SSLContext, connections: int) -> None:
        super().__init__(verify=tls, trust_env=False)
        # A name of httpx' own. Were it to change, nothing could be delivered, and a test says so.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=httpx.Limits().keepalive_expiry,
            network_backend=_Wire(fence),
        )
