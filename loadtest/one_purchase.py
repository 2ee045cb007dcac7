"""One purchase through real processes, and the spans they send: gateway, relay, sweep, till, a
Stripe sandbox and a Valkey, on loopback.

The shopper's bank asks for a second step, so that Stripe's webhook takes part; and each unit is
claimed in a table (strict mode) before its money is captured.
"""

import asyncio
import itertools
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.demo.addresses import free_ports
from gateway.demo.family import Family
from gateway.demo.home import Home, open_home
from gateway.demo.parts import SHOW, Part, Site, parts
from gateway.demo.shopfront import Shopfront, sign_keys
from gateway.demo.ware import read_ware
from gateway.messages import SUBPROTOCOL
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from loadtest.collector import Collector, Received, collecting

_CARD = "pm_card_authenticationRequired"
_LAST = "relay order"
_PATIENCE_S = 20.0
_STOP_S = 8.0
_LOOK_S = 0.1

_Said = dict[str, Any]


def spans_of_one_purchase() -> list[Received]:
    """Run it; the spans of its trace, in the order they began."""
    with collecting() as collector, open_home(None) as home, Warden() as warden:
        return asyncio.run(_run(collector, home, warden.group))


async def _run(collector: Collector, home: Home, group: int) -> list[Received]:
    family = Family(group, home.logs, EmbeddedValkey(group))
    try:
        redis_url = await family.start_valkey()
        port, stripe_port, till_port = free_ports(3)
        site = Site(home, redis_url, port, stripe_port, till_port)
        async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE_S) as client:
            await family.start(tuple(_traced(parts(site), collector, home)), client)
            ware = read_ware(None)
            await Shopfront(client, site, sign_keys(site)["admin"]).open(ware.file)
            # The first one opens connections, and has the relay notice that there is a till.
            for shopper in ("bob", "ann"):
                trace_id = secrets.token_hex(16)
                async with asyncio.timeout(_PATIENCE_S):
                    buying = _Purchase(site, client, shopper, ware.first)
                    await buying.through(f"00-{trace_id}-{secrets.token_hex(8)}-01")
                    while not _is_there(collector, trace_id):  # noqa: ASYNC110 (it has threads)
                        await asyncio.sleep(_LOOK_S)
    finally:
        await family.stop(_STOP_S)
    return collector.of(trace_id)


def _is_there(collector: Collector, trace_id: str) -> bool:
    return any(span.name == _LAST for span in collector.of(trace_id))


def _traced(every: Iterable[Part], collector: Collector, home: Home) -> Iterable[Part]:
    """The parts, those of ours told where spans go."""
    told = {
        "HOLDFAST_OTLP_URL": collector.url,
        "HOLDFAST_TRACE_PERCENT": "0",
        "HOLDFAST_CLAIMS_URL": f"sqlite://{home.root}/claims.db",
        "HOLDFAST_LOG_FORMAT": "json",
    }
    for part in every:
        ours = part.module == "gateway"
        yield replace(part, environment={**part.environment, **told}) if ours else part


@dataclass(frozen=True, slots=True)
class _Purchase:
    """What a shopper does."""

    site: Site
    client: httpx.AsyncClient
    name: str
    sku: str

    async def through(self, trace: str) -> None:
        """Reserve a unit, pay for it, agree on the bank's page, and hear that it is confirmed."""
        said = {"show": SHOW, "shopper": self.name}
        asked = await self.client.post(f"{self.site.url}/v1/tickets", json=said)
        ticket = asked.raise_for_status().json()
        async with connect(
            ticket["url"], subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None
        ) as socket:
            shopper = _Shopper(socket)
            await shopper.ask("connect", token=ticket["token"], show=SHOW, traceparent=trace)
            lines = [{"sku": self.sku, "quantity": 1}]
            hold = (await shopper.ask("reserve", key="k", lines=lines))["hold"]
            paying = await shopper.ask(
                "checkout",
                hold=hold["id"],
                expected_total=hold["total"],
                payment={"payment_method": _CARD},
                contact={"email": f"{self.name}@example.com"},
            )
            await self._agree(paying["client_secret"])
            await shopper.until(lambda said: said.get("state") == "confirmed")

    async def _agree(self, client_secret: str) -> None:
        intent = client_secret.partition("_secret_")[0]
        agreed = await self.client.post(
            f"{self.site.stripe_url}/v1/sandbox/payment_intents/{intent}/complete_action",
            data={"client_secret": client_secret, "outcome": "succeed"},
            headers={"authorization": f"Bearer {self.site.home.secrets.stripe_key}"},
        )
        agreed.raise_for_status()


class _Shopper:
    """One socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def ask(self, kind: str, **fields: object) -> _Said:
        number = next(self._ids)
        await self._socket.send(json.dumps({"type": kind, "id": number, **fields}))
        reply = await self.until(lambda said: said.get("id") == number)
        if reply["type"] == "error":
            raise RuntimeError(f"{kind} was refused: {reply['code']}")
        return reply

    async def until(self, wanted: Callable[[_Said], object]) -> _Said:
        while True:
            said: _Said = json.loads(await self._socket.recv())
            if wanted(said):
                return said
