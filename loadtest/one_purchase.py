"""One purchase through real processes, and the spans they send: gateway, relay, sweep, till, a
Stripe sandbox and a Valkey, on loopback.

The shopper's bank asks for a second step, so that Stripe's webhook takes part; and each unit is
claimed in a table (strict mode) before its money is captured.
"""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import replace

import httpx

from gateway.demo.entrance import Entrance
from gateway.demo.family import Family
from gateway.demo.home import Home, open_home
from gateway.demo.parts import SHOW, Part, Site, parts
from gateway.demo.shopfront import Shopfront, sign_keys
from gateway.demo.temper import SECOND_STEP_CARD
from gateway.demo.visit import Message, Visit
from gateway.demo.ware import read_ware
from gateway.sandbox.ports import free_ports
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from loadtest.collector import Collector, Received, collecting

_LAST = "relay order"
_PATIENCE_S = 20.0
_STOP_S = 8.0
_LOOK_S = 0.1


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
            entrance = Entrance(client, site.url, SHOW, site.stripe_url)
            # The first one opens connections, and has the relay notice that there is a till.
            for shopper in ("bob", "ann"):
                trace_id = secrets.token_hex(16)
                async with asyncio.timeout(_PATIENCE_S):
                    trace = f"00-{trace_id}-{secrets.token_hex(8)}-01"
                    await _buys(entrance, shopper, ware.first, trace)
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


async def _buys(entrance: Entrance, name: str, sku: str, trace: str) -> None:
    """Reserve a unit, pay for it, agree on the bank's page, and hear that it is confirmed."""
    async with entrance.enter(await entrance.ticket(name)) as (visit, _):
        lines = [{"sku": sku, "quantity": 1}]
        hold = (await _asks(visit, "reserve", trace, key="k", lines=lines))["hold"]
        paying = await _asks(
            visit,
            "checkout",
            trace,
            hold=hold["id"],
            expected_total=hold["total"],
            payment={"payment_method": SECOND_STEP_CARD},
            contact={"email": f"{name}@example.com"},
        )
        await entrance.tell_bank(paying["client_secret"], says_yes=True)
        while paying["state"] != "confirmed":
            paying = await visit.hear_checkout(hold["id"], _PATIENCE_S) or paying


async def _asks(visit: Visit, kind: str, trace: str, **fields: object) -> Message:
    reply = await visit.ask({"type": kind, "traceparent": trace, **fields})
    if reply["type"] == "error":
        raise RuntimeError(f"{kind} was refused: {reply['code']}")
    return reply
