"""What a whole evening with mishaps leaves in the logs: ids to follow, and nobody's data.

Every line is looked at twice: as it was written, with nothing blotted out but what tracebacks say,
and as a process writes it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from gateway.cards import holds_card_number
from gateway.checkout.phases import Phase
from gateway.lane import Lane
from gateway.logs import JsonLines, Redaction, TextLines, secrets_of
from gateway.pos import relay
from gateway.pos.tally import Tally
from gateway.pos.webhooks import WebhookBook
from gateway.pulse import Pulse
from gateway.sessions.session import Session
from gateway.settings import Settings
from gateway.stock.holds import hold_id, order_id
from tests.acceptance.place import Place
from tests.bank import CAPTURE, CREATE, Bank
from tests.handoff import Receiver
from tests.integration.conftest import UNLIMITED, open_site
from tests.sales import eventually
from tests.shopper import Message, Shopper, connected

CONTACT = {"email": "ann.lovelace@mail.example", "name": "Ann Lovelace", "phone": "+49 170 1234567"}
SHIP_TO = {"line1": "12 Marmalade Row", "city": "Ulm", "postal_code": "89073", "country": "DE"}
BROUGHT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(eq=False)
class Book(logging.Handler):
    """Every line that is written, in each of its forms, when it is written."""

    redact: Redaction
    plain: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    objects: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        self.plain.append(f"{record.name}: {record.getMessage()}")
        self.shown.append(TextLines(self.redact).format(record))
        self.objects.append(json.loads(JsonLines(self.redact).format(record)))

    def about(self, words: str) -> dict[str, str]:
        """The first line with these words."""
        found = [one for one in self.objects if words in one["message"]]
        assert found, [one["message"] for one in self.objects]
        return found[0]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, relay_attempts=1, stripe_timeout_ms=800)


@pytest.fixture
def book(settings: Settings) -> Iterator[Book]:
    book, root, ours = Book(Redaction(secrets_of(settings))), logging.getLogger(), "gateway"
    levels = {name: logging.getLogger(name).level for name in ("", ours)}
    root.addHandler(book)
    root.setLevel(logging.WARNING)
    logging.getLogger(ours).setLevel(logging.INFO)
    yield book
    root.removeHandler(book)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
async def till() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as till:
        till.go.set()
        yield till


@pytest.fixture
async def place(settings: Settings, till: Receiver) -> AsyncIterator[Place]:
    async with open_site(settings, UNLIMITED) as site, httpx.AsyncClient(trust_env=False) as client:
        await site.sells("tee", 9, limit=3)
        await WebhookBook(site.rooms.lane, site.shop).put("till", till.webhook)
        relaying = asyncio.create_task(
            relay.run(Lane(settings), settings, Tally(CollectorRegistry()), Pulse())
        )
        yield Place(site, Bank(site.stripe_url), client)
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)


async def pays(shopper: Shopper, key: str, method: str = "pm_card_visa", **more: Any) -> Message:
    """Reserve and pay, with everything a shopper may say of oneself; the hold."""
    hold: Message = (
        await shopper.ask("reserve", key=key, lines=[{"sku": "tee", "quantity": 1}], **more)
    )["hold"]
    reply = await shopper.ask(
        "checkout",
        hold=hold["id"],
        expected_total=hold["total"],
        payment={"payment_method": method},
        contact=CONTACT,
        ship_to=SHIP_TO,
        **more,
    )
    assert reply["type"] == "checkout", reply
    return hold


async def test_a_purchase_with_mishaps(
    place: Place, till: Receiver, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, secrets = place.site, set(secrets_of(place.site.rooms.settings)) - {""}
    ticket = site.ticket("ann")
    async with site.shopper("ann") as ann:
        await pays(ann, "declined", "pm_card_visa_chargeDeclinedInsufficientFunds")
        await place.bank.fails(lose_reply_percent=100, endpoint=CREATE, times=1)
        lost = order_id(hold_id(site.shop, "ann", "lost"))
        till.refusals |= {f"evt_{lost}_1": 1}
        await pays(ann, "lost", traceparent=BROUGHT)
        await place.comes_to(lost, Phase.CAPTURED)
        await place.bank.fails(error_500_percent=100, endpoint=CAPTURE, times=1)
        await place.comes_to(order_id((await pays(ann, "broken"))["id"]), Phase.CAPTURED)
        await breaks(ann, monkeypatch)
    async with connected(site.socket_url) as stranger:
        refused = await stranger.ask("connect", token=f"{ticket[:-4]}AAAA", show="tonight")
        assert refused["code"] == "unauthenticated"
    events = await place.events()
    forged = await place.posts(json.dumps(events[0]), place.signature(json.dumps(events[0]), 9_999))
    assert forged.status_code == 400
    stray = events[0]
    stray["data"]["object"]["metadata"] |= {"order": "o_nobody", "hold": "h_nobody"}
    stray["type"] = "payment_intent.succeeded"
    assert (await place.hears(stray)).is_success

    async def all_told() -> bool:
        return any("is parked" in line for line in book.plain)

    await eventually(all_told)
    personal = {*CONTACT.values(), *SHIP_TO.values(), "Lovelace", "Marmalade"} - {"DE"}
    for line in (*book.plain, *book.shown):
        for word in (*personal, *secrets, ticket, till.webhook.secret, "_secret_", "eyJ", "@mail"):
            assert word not in line, line
        assert not holds_card_number(line), line
    # Each can be followed by its ids.
    assert book.about("is not known here; kept")["order"] == "o_nobody"
    assert book.about("is parked") | {"shop": site.shop, "order": lost} == book.about("is parked")
    silent = book.about("payments: stripe: ")
    assert {"session", "request", "shop", "hold", "order"} <= silent.keys()
    assert silent["trace"] == BROUGHT[3:35]
    broken = book.about("a command failed")
    assert {"session", "request", "shop", "hold"} <= broken.keys()
    assert "ValueError: no shopper [redacted]" in broken["exception"]


async def breaks(shopper: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something of ours is broken, and its error tells whom it met."""

    async def broken(*_: object) -> None:
        raise ValueError(f"no shopper {CONTACT['email']}")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_perform", broken)
        assert (await shopper.ask("release", hold="h_1"))["code"] == "unavailable"
