"""Rooms of the gateway on a real Valkey, and a whole gateway on real sockets."""

import asyncio
import contextlib
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import uvicorn

from gateway.app import Gateway, assemble
from gateway.app import server as server_of
from gateway.checkout.desk import Desk
from gateway.checkout.payment import Payments
from gateway.claims.address import open_claims
from gateway.claims.table import Claims
from gateway.clock import SystemClock
from gateway.environment import read
from gateway.lane import Lane, served
from gateway.model import CatalogEntry, Money, Movement, Show
from gateway.rooms import Rooms, join
from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.sweep import Sweep
from loadtest.postgres import QUICK, EmbeddedPostgres, PostgresMissingError
from tests.claiming import Table
from tests.front_door import Door, open_door
from tests.insist import insist
from tests.late import Late
from tests.shopper import Shopper, shopping

SHOW = "tonight"


UNLIMITED = StripeSettings(per_endpoint=0, per_account=0)
"""Stripe without its rate limit."""


@pytest.fixture
def settings(redis_url: str, shop: str) -> Settings:
    """Settings for the test's server, everything else by default, save patience."""
    return patient(settings_of(redis_url, shop))


def patient(settings: Settings) -> Settings:
    """For a Redis that nothing is wrong with: a busy machine may stall for longer than a shopper
    waits, and what is then asked again is done and counted twice.
    """
    return msgspec.structs.replace(settings, redis_timeout_ms=20_000)


def settings_of(redis_url: str, shop: str) -> Settings:
    """Settings for a server, everything else by default."""
    return read(
        {
            "REDIS_URL": redis_url,
            "STRIPE_API_KEY": "sk_test_0123456789abcdef",
            "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
            "HOLDFAST_SECRET": "a-secret-of-the-tests-0123456789",
            "HOLDFAST_SHOP": shop,
            "HOLDFAST_WEBHOOK_TARGETS": "127.0.0.0/8",
            "HOLDFAST_DRAIN_S": "1",
            "HOLDFAST_STRIPE_RATE_PER_S": "1000",
            "HOLDFAST_STRIPE_ACCOUNT_RATE_PER_S": "4000",
        }
    )


@pytest.fixture
async def late() -> AsyncIterator[Late]:
    """How late the test's own process is."""
    late = Late()
    watching = asyncio.create_task(late.watch())
    yield late
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
async def lane(settings: Settings) -> AsyncIterator[Lane]:
    """A lane that is served while the test runs."""
    async with served(settings) as lane:
        yield lane


@pytest.fixture
async def rooms(settings: Settings, lane: Lane) -> AsyncIterator[Rooms]:
    """The rooms, joined over the test's lane."""
    payments = Payments(settings, lane, SystemClock())
    yield join(settings, SystemClock(), random.Random(1), lane, payments)
    await payments.aclose()


@pytest.fixture
async def door(rooms: Rooms) -> AsyncIterator[Door]:
    """The HTTP front door, without a socket and without Stripe."""
    async with open_door(rooms, Desk(rooms.settler, rooms.settings, rooms.rng)) as door:
        yield door


@dataclass
class Site:
    """A gateway on a socket, with a live show and a Stripe sandbox behind it."""

    url: str
    gateway: Gateway = field(repr=False)
    stripe_url: str
    server: uvicorn.Server

    @property
    def rooms(self) -> Rooms:
        return self.gateway.rooms

    @property
    def shop(self) -> str:
        return self.rooms.settings.shop

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws") + "/v1/live"

    async def sells(
        self, sku: str, units: int, *, price: int = 1500, limit: int | None = None
    ) -> None:
        """Put a product on sale."""
        entry = CatalogEntry(sku, f"The {sku}", Money(price, "EUR"), limit_per_shopper=limit)
        await insist(lambda: self.rooms.catalog.put(self.shop, (entry,)))
        now = "2026-11-21T20:00:00.000Z"
        received = Movement(f"in-{sku}", "received", sku, "main", units, now, "test")
        await insist(lambda: self.rooms.movements.apply(self.shop, (received,)))

    def ticket(self, shopper: str, show: str = SHOW) -> str:
        return self.rooms.tokens.sign_ticket(self.shop, show, shopper)[0]

    def shopper(self, name: str) -> contextlib.AbstractAsyncContextManager[Shopper]:
        """A shopper who was let in."""
        return shopping(self.socket_url, self.ticket(name), SHOW)

    def sweep(self) -> Sweep:
        return Sweep(self.rooms)


@dataclass
class Corner(Site):
    """A shop of its own at a gateway that is open already: as good as a site, and at once there."""

    name: str = ""

    @property
    def shop(self) -> str:
        return self.name


async def opens(gateway: Gateway, shop: str) -> None:
    """The show of a shop is live."""
    shows = gateway.rooms.shows
    await insist(lambda: shows.put(shop, Show(SHOW, "Tonight's show")))
    await insist(lambda: shows.move(shop, SHOW, "live"))


def _as_it_is(_: Gateway) -> None:
    pass


@contextlib.asynccontextmanager
async def open_site(
    settings: Settings,
    stripe_settings: StripeSettings,
    prepare: Callable[[Gateway], None] = _as_it_is,
    operators: socket.socket | None = None,
) -> AsyncIterator[Site]:
    """Open a site and close it again; ``prepare`` changes the gateway before anybody comes."""
    async with contextlib.AsyncExitStack() as stack:
        stripe_url = await stack.enter_async_context(stripe_server.serving(stripe_settings))
        settings = msgspec.structs.replace(settings, stripe_url=stripe_url)
        lane = Lane(settings)
        gateway = assemble(
            settings,
            clock=SystemClock(),
            rng=random.Random(1),
            lane=lane,
            payments=Payments(settings, lane, SystemClock()),
            claims=open_claims(settings),
        )
        prepare(gateway)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        # asyncio sets this only on sockets that name their protocol; else replies wait 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = server_of(gateway, operators)
        serving = asyncio.create_task(server._serve([listener]))
        try:
            while not server.started:
                assert not serving.done(), serving.result()
                await asyncio.sleep(0.01)
            await opens(gateway, settings.shop)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield Site(url, gateway, stripe_url, server)
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    """A site without Stripe's rate limit."""
    async with open_site(settings, UNLIMITED) as site:
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_site(redis_url: str) -> AsyncIterator[Site]:
    """A site for all tests of a module, which then run in one loop."""
    settings = patient(settings_of(redis_url, f"shop_{uuid.uuid4().hex}"))
    async with open_site(settings, UNLIMITED) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def corner(shared_site: Site, shop: str) -> Corner:
    """A live show of a new shop at the module's site."""
    await opens(shared_site.gateway, shop)
    return Corner(
        shared_site.url, shared_site.gateway, shared_site.stripe_url, shared_site.server, shop
    )


@pytest.fixture(scope="session")
def postgres(warden: Warden) -> Iterator[EmbeddedPostgres]:
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(EmbeddedPostgres(warden.group, QUICK))
        except PostgresMissingError as missing:
            pytest.skip(str(missing))
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    """A database of the test's own; the tables are not made yet."""
    if request.param == "sqlite":
        return Table(f"sqlite://{tmp_path}/claims")
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    return Table.within(server.url)


@pytest.fixture
async def claims(table: Table) -> AsyncIterator[Claims]:
    async with contextlib.aclosing(table.claims()) as claims:
        yield claims
