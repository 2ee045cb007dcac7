"""Card numbers in any field of any message are refused, and are in no log, no ledger, no error."""

import asyncio
import copy
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.cards import holds_card_number
from gateway.keys import ShopKeys
from gateway.messages import SUBPROTOCOL
from gateway.stock.holds import order_id
from gateway.tickets import SCOPES
from tests.front_door import problem
from tests.integration.conftest import SHOW, Corner
from tests.shopper import Message, Shopper, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARD = "4242424242424242"
WRITTEN = {
    "plain": '"4242424242424242"',
    "spaced": '"my card: 4242 4242 4242 4242 12 34"',
    "dashed": '"4242-4242-4242-4242"',
    "dotted": '"4242.4242.4242.4242"',
    "two": '"5555555555554444 4242424242424242"',
    "escaped": '"\\u0034242\\u00204242\\u0034\\u0032424242"',
    "full width": '"\uff14\uff12\uff14\uff12424242424242"',
    "full width, escaped": '"\\uff14\\uff12\\uff14\\uff12424242424242"',
    "number": "4242424242424242",
}
PLACE = "@"
PRICE = {"amount": 1500, "currency": "EUR"}
MOVEMENT = {
    "reference_id": "r1",
    "kind": "received",
    "sku": "tee",
    "location": "main",
    "quantity": 1,
    "occurred_at": "2026-11-21T20:00:00.000Z",
    "source": "pos",
    "reason": "delivery",
}
ENTRY = {
    "sku": "mug",
    "title": "Mug",
    "price": PRICE,
    "options": {"Size": "L"},
    "compare_at": PRICE,
    "image": "https://shop.example/mug.jpg",
    "description": "A mug.",
    "limit_per_shopper": 2,
}
BODIES: dict[str, Any] = {
    "PUT /v1/catalog": {"entries": [ENTRY]},
    "PUT /v1/shows/late": {
        "title": "Late",
        "starts_at": "2026-11-21T20:00:00.000Z",
        "video": "https://shop.example/show.mp4",
    },
    f"POST /v1/shows/{SHOW}/highlight": {"sku": "tee"},
    "POST /v1/stock/movements": {"movements": [MOVEMENT, MOVEMENT | {"reference_id": "r2"}]},
    "POST /v1/orders/o_1/refunds": {"amount": PRICE, "lines": [{"sku": "tee", "quantity": 1}]},
    "PUT /v1/webhooks/till": {"url": "https://till.example/orders", "secret": "whsec_x"},
    "POST /v1/tickets": {"show": SHOW, "shopper": "ann", "name": "Ann"},
}
COMMANDS: dict[str, dict[str, Any]] = {
    "reserve": {
        "key": "new",
        "lines": [{"sku": "tee", "quantity": 1}],
        "fulfillment": {"type": "pickup", "location": "main"},
    },
    "extend": {"hold": "h_1"},
    "release": {"hold": "h_1"},
    "checkout": {
        "hold": "h_1",
        "expected_total": PRICE,
        "payment": {"payment_method": "pm_card_visa"},
        "contact": {"email": "ann@example.com", "name": "Ann", "phone": "+49 170 1234567"},
        "ship_to": {"line1": "1 Main St", "country": "DE", "city": "Ulm", "postal_code": "89073"},
    },
    "ask": {"text": "?"},
    "refresh": {"token": "a.b.c"},
}
CSV_COLUMNS = (
    *("Handle", "Title", "Body (HTML)", "Option1 Name", "Option1 Value", "Variant SKU"),
    *("Variant Inventory Qty", "Variant Price", "Variant Compare At Price", "Image Src"),
)
GOOD_ROW = ("mug", "Mug", "A mug", "Size", "L", "mug", "3", "15.00", "", "https://shop.example/m")


def with_a_place(value: Any) -> Iterator[Any]:
    """Copies of a value: in each, another part is the place for the card number."""
    yield PLACE
    if not isinstance(value, dict | list):
        return
    for name, member in value.items() if isinstance(value, dict) else enumerate(value):
        for changed in with_a_place(member):
            whole = copy.copy(value)
            whole[name] = changed
            yield whole
    if isinstance(value, dict):
        yield value | {"of_a_later_version": {"deep": [[PLACE]]}}


def texts(value: Any) -> Iterator[str]:
    """Every place of a body, the card number in one writing after the other; and as a key."""
    for one, written in zip(with_a_place(value), itertools.cycle(WRITTEN.values()), strict=False):
        yield json.dumps(one).replace(f'"{PLACE}"', written)
    yield json.dumps(value)[:-1] + f',"{CARD}":1}}'
    yield json.dumps(value)[:-1] + f',"{CARD}":1,"{CARD}":1}}'


@dataclass
class Watch:
    """A corner, what it keeps, and every word that is said while a test runs."""

    corner: Corner
    client: httpx.AsyncClient
    said: list[str]

    async def kept(self) -> tuple[set[bytes], list[bytes]]:
        """The keys of every shop, and all that is kept of ours; but for the count of viewers, and
        that they have come in.
        """
        command, coming = self.corner.rooms.lane.command, (b":viewers:", b":ticket:")
        everything = await command("KEYS", "*")
        names = {name for name in everything if not any(word in name for word in coming)}
        ours = sorted(name for name in names if self.corner.shop.encode() in name)
        return names, await asyncio.gather(*(command("DUMP", name) for name in ours))

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with a key that opens everything, to the gateway's own port."""
        key = self.corner.rooms.tokens.sign_key(self.corner.shop, SCOPES)
        headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "idempotency-key": "k",
        }
        headers |= options.pop("headers", {})
        answer = await self.client.request(method, path, headers=headers, **options)
        self.said += [answer.text, str(answer.headers)]
        return answer

    async def refuses(self, method: str, path: str, **options: Any) -> None:
        answer = await self.ask(method, path, **options)
        told = problem(answer, 422, "invalid")
        assert told["detail"].startswith("Card numbers"), (told, options)


@pytest_asyncio.fixture(loop_scope="module")
async def watch(corner: Corner, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Watch]:
    # What the tests' own clients say; the last level set is the one that is caught.
    for logger in ("httpx", "httpcore", "websockets.client"):
        caplog.set_level(logging.WARNING, logger)
    for logger in ("", "gateway", "uvicorn", "uvicorn.error", "asyncio", "redis", "stripe"):
        caplog.set_level(logging.DEBUG, logger)
    await corner.sells("tee", 9)
    async with httpx.AsyncClient(base_url=corner.url) as client:
        watch = Watch(corner, client, [])
        before = await watch.kept()
        yield watch
        assert await watch.kept() == before
        watch.said.append((await client.get("/metrics")).text)
    records = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]
    for word in (*watch.said, *map(logging.Formatter().format, records)):
        assert CARD not in word, word
        assert not holds_card_number(word), word


@pytest.mark.parametrize("route", BODIES)
async def test_in_a_body(watch: Watch, route: str) -> None:
    method, path = route.split()
    for text in texts(BODIES[route]):
        await watch.refuses(method, path, content=text.encode())


@pytest.mark.parametrize("written", WRITTEN)
async def test_in_any_writing(watch: Watch, written: str) -> None:
    text = json.dumps(BODIES["POST /v1/tickets"] | {"name": PLACE})
    content = text.replace(f'"{PLACE}"', WRITTEN[written]).encode()
    await watch.refuses("POST", "/v1/tickets", content=content)


async def test_in_a_list_of_movements(watch: Watch) -> None:
    for text in (json.dumps(one) for one in with_a_place([MOVEMENT])):
        content = text.replace(PLACE, CARD).encode()
        await watch.refuses("POST", "/v1/stock/movements", content=content)


@pytest.mark.parametrize(
    "route",
    [
        "GET /v1/shows/@",
        "PUT /v1/shows/@",
        "POST /v1/shows/@/start",
        "POST /v1/shows/@/end",
        "POST /v1/shows/@/highlight",
        "GET /v1/orders/@",
        "POST /v1/orders/@/refunds",
        "PUT /v1/webhooks/@",
        "DELETE /v1/webhooks/@",
        "GET /v1/orders?after=@-0",
        "GET /v1/orders?limit=@",
        "GET /v1/orders?wait_s=@",
        "POST /v1/catalog/import?currency=@",
        "POST /v1/catalog/import?skip_bad_rows=@",
        "GET /v1/catalog?@",
        "GET /v1/stock?anything=@",
        "POST /v1/tickets?name=@",
        "POST /v1/stripe/webhook?name=@",
    ],
)
async def test_in_an_address(watch: Watch, route: str) -> None:
    method, path = route.split()
    for written in (
        CARD,
        "4242-4242-4242-4242",
        "%34242%204242%2042424242",
        "\uff14242424242424242",
    ):
        await watch.refuses(method, path.replace(PLACE, written), content=b"{}")


async def test_at_an_address_where_nothing_is(watch: Watch) -> None:
    problem(await watch.ask("GET", f"/v1/{CARD}?{CARD}"), 404, "not_found")
    problem(await watch.ask("PATCH", f"/v1/shows/{CARD}"), 405, "invalid")


@pytest.mark.parametrize("route", [*BODIES, "DELETE /v1/webhooks/till"])
async def test_in_an_idempotency_key(watch: Watch, route: str) -> None:
    method, path = route.split()
    for written in (CARD, "4242 4242 4242 4242", f"refund-{CARD}"):
        content = json.dumps(BODIES.get(route, {})).encode()
        headers = {"idempotency-key": written}
        await watch.refuses(method, path, content=content, headers=headers)


@pytest.mark.parametrize("column", CSV_COLUMNS)
@pytest.mark.parametrize("skip", ["true", "false"])
async def test_in_a_column_of_an_import(watch: Watch, column: str, skip: str) -> None:
    for written in (CARD, "4242 4242 4242 4242", "<b>4242</b>4242<i>4242</i>4242", "&#52;242" * 4):
        if "<" in written and column != "Body (HTML)":
            continue
        if "&" in written and column != "Body (HTML)":
            continue
        row = dict(zip(CSV_COLUMNS, GOOD_ROW, strict=True)) | {column: written}
        text = f"{','.join(CSV_COLUMNS)}\n{','.join(row.values())}\n"
        answer = await watch.ask(
            "POST",
            "/v1/catalog/import",
            params={"skip_bad_rows": skip},
            content=text.encode(),
            headers={"content-type": "text/csv"},
        )
        told = problem(answer, 422, "invalid")
        assert [error["code"] for error in told["errors"]] == ["card_number"]


async def answered(shopper: Shopper, text: str) -> Message:
    """The error a frame gets, once it was looked at."""
    while True:
        await shopper.socket.send(text)
        error = await shopper.until(lambda message: message["type"] == "error")
        if error["code"] != "rate_limited":
            return error
        await asyncio.sleep(error["retry_after_ms"] / 1000)


@pytest.mark.parametrize("kind", COMMANDS)
async def test_in_a_command(watch: Watch, kind: str) -> None:
    async with watch.corner.shopper("ann") as ann:
        for text in texts({"type": kind, "id": 50} | COMMANDS[kind]):
            error = await answered(ann, text)
            watch.said.append(json.dumps(error))
            assert (error["code"], error["message"][:12]) == ("invalid", "Card numbers")
            assert error.get("id") in {50, None}


@pytest.mark.parametrize("written", WRITTEN)
async def test_in_a_question_in_any_writing(watch: Watch, written: str) -> None:
    async with watch.corner.shopper("ann") as ann:
        text = f'{{"type":"ask","id":50,"text":{WRITTEN[written]}}}'
        error = await answered(ann, text)
        watch.said.append(json.dumps(error))
        assert (error["code"], error["id"]) == ("invalid", 50)


async def test_as_the_number_of_a_command(watch: Watch) -> None:
    async with watch.corner.shopper("ann") as ann:
        error = await answered(ann, f'{{"type":"ask","id":{CARD},"text":"?"}}')
        watch.said.append(json.dumps(error))
        assert error["code"] == "invalid"
        assert "id" not in error


async def test_in_the_first_frame(watch: Watch) -> None:
    frame = {"type": "connect", "id": 50, "token": "x", "show": SHOW}
    for one in with_a_place(frame | {"resume": {"epoch": 1, "version": 1}}):
        async with connected(watch.corner.socket_url) as stranger:
            error = await answered(stranger, json.dumps(one).replace(PLACE, CARD))
            watch.said.append(json.dumps(error))
            assert error["code"] == "invalid", one
            assert await stranger.closed() == 4501


_WRITTEN = [CARD, int(CARD), ["4242-4242-4242-4242"], {CARD: "\uff14242"}]


@pytest.mark.parametrize(
    ("claim", "written"),
    [
        ("sub", CARD),
        *((claim, written) for claim in ("name", "email", "anything") for written in _WRITTEN),
    ],
)
async def test_in_a_claim_of_a_ticket(watch: Watch, claim: str, written: Any) -> None:
    corner = watch.corner
    claims = {"sub": "ann", "shop": corner.shop, "show": SHOW, "exp": int(time.time()) + 60}
    secret = corner.rooms.tokens.shop_secret(corner.shop)
    token = jwt.encode(claims | {claim: written}, secret, algorithm="HS256")
    frame = json.dumps({"type": "connect", "id": 50, "token": token, "show": SHOW})
    async with connected(corner.socket_url) as stranger:
        error = await answered(stranger, frame)
        watch.said.append(json.dumps(error))
        assert error["code"] == "invalid"
        assert await stranger.closed() == 4500


@pytest.mark.parametrize("address", ["", f"?{CARD}", f"/{CARD}", f"x?name={CARD}"])
async def test_in_the_address_of_a_socket(watch: Watch, address: str) -> None:
    subprotocols = [Subprotocol(SUBPROTOCOL)] if address else []
    with pytest.raises(InvalidStatus) as refused:
        await connect(watch.corner.socket_url + address, subprotocols=subprotocols)
    watch.said.append(refused.value.response.body.decode())


async def test_what_stripe_says_of_a_declined_card_is_kept_as_a_code_only(
    corner: Corner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await corner.sells("tee", 9)
    async with corner.shopper("ann") as ann:
        held = await ann.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
        method = "pm_card_visa_chargeDeclinedInsufficientFunds"
        declined = await ann.pays(held["hold"], method)
    assert declined["decline_code"] == "insufficient_funds"
    record = ShopKeys(corner.shop).order(order_id(held["hold"]["id"]))
    kept = b" ".join(await corner.rooms.lane.command("HVALS", record))
    assert b"insufficient_funds" in kept
    ours = [one for one in caplog.records if one.name.startswith("gateway")]
    for said in (kept.decode(), json.dumps(declined), *(one.getMessage() for one in ours)):
        assert "Your card has" not in said
