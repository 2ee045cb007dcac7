"""The page at ``/`` as a shopper meets it, on a phone, against the running demo."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import Locator, Page, Route, WebSocketRoute

    from tests.browser.conftest import Demo, NewPage

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect = pytest.importorskip("playwright.async_api", reason="needs playwright").expect
EMAIL = "shopper@example.com"
SOCKET = re.compile(r"/v1/live$")
TICKETS = re.compile(r"/v1/tickets$")
MINT = re.compile(r"/v1/sandbox/confirmation_tokens$")

WATCH_THE_LINE = """
() => {
  const said = [document.querySelector(".line"), document.querySelector(".curtain")];
  window.seen = [];
  const look = () => said.forEach((one) => one.hidden || window.seen.push(one.textContent));
  new MutationObserver(look).observe(document.querySelector("#stage"),
    { subtree: true, attributes: true, childList: true });
}
"""
TAKE_ALL = """
async ([sku, quantity]) => {
  const { Connection } = await import("/static/connection.js");
  const { fetchTicket } = await import("/static/tickets.js");
  const { show } = await (await fetch("./config.json")).json();
  const line = new Connection({
    show, admit: () => fetchTicket(show, crypto.randomUUID()),
    open: (url, subprotocol) => new WebSocket(url, subprotocol),
    onFrame() {}, onStatus() {},
  });
  line.run();
  const { hold } = await line.request("reserve",
    { key: crypto.randomUUID(), lines: [{ sku, quantity }] });
  window.giveBack = () => line.request("release", { hold: hold.id });
}
"""


async def opened(new_page: NewPage, demo: Demo) -> Page:
    page = await new_page()
    await arrive(page, demo)
    return page


async def arrive(page: Page, demo: Demo) -> None:
    await page.goto(demo.url)
    await expect(page.locator(".product:not(.skeleton)").first).to_be_visible()


async def on_sale(page: Page) -> Locator:
    """The card of a product that can be bought as often as one likes; others may be used up."""
    cards = page.locator(".product").filter(has=page.locator('[data-action="buy"]'))
    free = cards.filter(has_not_text="per person")
    skus = await free.evaluate_all(
        "cards => cards.map(card => [parseInt(card.querySelector('.stock')"
        ".textContent.replace(/\\D/g, '')), card.dataset.sku]).filter(([left]) => left > 3)"
    )
    assert skus, "the demo sells nothing that is not limited"
    _, sku = max(skus)
    return page.locator(f'.product[data-sku="{sku}"]')


async def hold(page: Page) -> Locator:
    """Press Buy; answer with the product's card once the unit is held."""
    card = await on_sale(page)
    await card.locator(".buy").click()
    await expect(page.locator('#panel[data-phase="pay"]')).to_be_visible()
    return card


async def pay(page: Page, method: str = "pm_card_visa") -> None:
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.locator(f'[name="method"][value="{method}"]').check()
    await page.get_by_role("button", name=re.compile("^Pay ")).last.click()


async def confirmed(page: Page) -> None:
    await expect(page.locator('#panel[data-phase="confirmed"]')).to_be_visible()
    await expect(page.locator("#panel")).to_contain_text("Your order is confirmed")


async def left(card: Locator) -> int:
    text = await card.locator(".stock").inner_text()
    return int(re.sub(r"\D", "", text) or 0)


async def through(page: Page, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Let every frame the page sends pass through ``change`` on its way to the gateway."""

    def patch(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda text: server.send(json.dumps(change(json.loads(text)))))

    await page.route_web_socket(SOCKET, patch)


async def test_a_newcomer_sees_a_live_show_with_prices_and_stock(
    demo: Demo, new_page: NewPage
) -> None:
    page = await new_page()
    asked: list[tuple[str, str]] = []
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append((request.resource_type, request.url)))
    await page.goto(demo.url)
    await expect(page.locator(".badge")).to_have_text("Live")
    await expect(page.locator("h1")).not_to_be_empty()
    product = page.locator(".product:not(.skeleton)").first
    await expect(product.locator(".price")).to_have_text(re.compile(r"\d"))
    await expect(product.locator(".stock")).to_have_text(re.compile(r"left|Sold out"))
    foreign = [url for kind, url in asked if kind != "image" and not url.startswith(demo.url)]
    assert foreign == []
    assert [text for text in said if "Content Security Policy" in text] == []


async def test_a_shopper_holds_pays_and_still_has_the_order_after_a_reload(
    demo: Demo, new_page: NewPage
) -> None:
    page = await opened(new_page, demo)
    card = await on_sale(page)
    before = await left(card)
    await hold(page)
    await expect(page.get_by_role("timer")).to_have_text(re.compile(r"^\d+:\d\d$"))
    await expect(card.locator(".stock")).to_have_text(re.compile(rf"\b{before - 1} left"))
    await pay(page)
    await confirmed(page)
    order = await page.locator(".order-id code").inner_text()
    await page.reload()
    await page.get_by_role("button", name=re.compile("^Bought: ")).click()
    await expect(page.locator(".order-id code")).to_have_text(order)


async def test_after_a_decline_another_card_works(demo: Demo, new_page: NewPage) -> None:
    page = await opened(new_page, demo)
    await hold(page)
    await pay(page, "pm_card_visa_chargeDeclinedInsufficientFunds")
    await expect(page.locator(".note")).to_contain_text("funds")
    await expect(page.get_by_label("E-mail")).to_have_value(EMAIL)
    await pay(page)
    await confirmed(page)


async def test_every_press_of_pay_has_a_token_of_its_own(demo: Demo, new_page: NewPage) -> None:
    page = await new_page()
    sent: list[dict[str, str]] = []

    def note(frame: dict[str, Any]) -> dict[str, Any]:
        if frame["type"] == "checkout":
            sent.append(frame["payment"])
        return frame

    await through(page, note)
    await page.route(MINT, lambda route: route.abort(), times=1)
    await arrive(page, demo)
    await hold(page)
    await pay(page)
    await expect(page.locator(".note")).to_contain_text("nothing was charged")
    assert sent == []
    for _ in range(2):
        await pay(page, "pm_card_visa_chargeDeclined")
        await expect(page.locator(".note")).to_contain_text("declined")
    await pay(page)
    await confirmed(page)
    tokens = [payment["confirmation_token"] for payment in sent]
    assert len(set(tokens)) == 3


async def test_the_banks_question_is_put_and_answered(demo: Demo, new_page: NewPage) -> None:
    page = await opened(new_page, demo)
    await hold(page)
    await pay(page, "pm_card_authenticationRequired")
    await page.get_by_role("button", name="Refuse").click()
    await expect(page.locator('#panel[data-phase="pay"] .note')).not_to_be_empty()
    await pay(page, "pm_card_authenticationRequired")
    await page.get_by_role("button", name="Approve").click()
    await confirmed(page)


async def test_a_reload_before_the_banks_answer_loses_nothing(
    demo: Demo, new_page: NewPage
) -> None:
    page = await opened(new_page, demo)
    await hold(page)
    await pay(page, "pm_card_authenticationRequired")
    await expect(page.get_by_role("button", name="Approve")).to_be_visible()
    await page.reload()
    await page.get_by_role("button", name="Approve").click()
    await confirmed(page)


async def test_sold_out_and_back_again_without_a_reload(demo: Demo, new_page: NewPage) -> None:
    page, other = await opened(new_page, demo), await opened(new_page, demo)
    card = await on_sale(page)
    sku = await card.get_attribute("data-sku")
    units = await left(card)
    await other.evaluate(TAKE_ALL, [sku, units])
    await expect(card.locator(".stock")).to_have_text("Sold out")
    await expect(card.locator(".buy")).to_be_disabled()
    await other.evaluate("() => window.giveBack()")
    await expect(card.locator(".stock")).to_have_text(f"{units} left")
    await expect(card.locator(".buy")).to_be_enabled()


async def test_a_hold_can_be_kept_left_for_later_and_given_back(
    demo: Demo, new_page: NewPage
) -> None:
    page = await opened(new_page, demo)
    card = await on_sale(page)
    units = await left(card)
    await hold(page)
    await page.get_by_role("button", name="Keep it a little longer").click()
    await expect(page.locator(".note")).to_contain_text("more time")
    await page.keyboard.press("Escape")
    await expect(page.locator("#panel")).to_be_hidden()
    await expect(card.locator(".buy")).to_have_text("Pay now")
    await expect(card.locator(".buy")).to_be_focused()
    await page.reload()
    await page.get_by_role("button", name=re.compile("^Held for you: ")).click()
    await page.get_by_role("button", name="Give it back").click()
    await expect(page.locator("#panel")).to_be_hidden()
    await expect(page.locator("#yours")).to_be_hidden()
    await expect(card.locator(".stock")).to_have_text(f"{units} left")


async def test_a_total_that_changed_is_shown_and_asked_about(demo: Demo, new_page: NewPage) -> None:
    page = await new_page()
    once = iter([1])

    def cheaper(frame: dict[str, Any]) -> dict[str, Any]:
        if frame["type"] == "checkout":
            frame["expected_total"]["amount"] -= next(once, 0)
        return frame

    await through(page, cheaper)
    await arrive(page, demo)
    await hold(page)
    total = await page.locator(".total strong").inner_text()
    await pay(page)
    await expect(page.locator(".note")).to_contain_text(f"The total is now {total}.")
    await page.get_by_role("button", name=f"Pay {total}").click()
    await confirmed(page)


async def test_asking_for_more_than_there_is_is_answered_in_words(
    demo: Demo, new_page: NewPage
) -> None:
    page = await new_page()

    def greedy(frame: dict[str, Any]) -> dict[str, Any]:
        if frame["type"] == "reserve":
            frame["lines"][0]["quantity"] = 100_000
        return frame

    await through(page, greedy)
    await arrive(page, demo)
    card = await on_sale(page)
    units = await left(card)
    await card.locator(".buy").click()
    await expect(card.locator(".refusal")).to_contain_text(f"Only {units} left")
    await expect(card.locator(".buy")).to_be_enabled()


async def test_a_line_cut_in_the_middle_of_buying_holds_one_unit_once(
    demo: Demo, new_page: NewPage
) -> None:
    page = await new_page()
    cut = iter([True])
    keys: list[str] = []
    closing: list[asyncio.Task[None]] = []

    def patch(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        swallow = False

        def from_page(text: str | bytes) -> None:
            nonlocal swallow
            frame = json.loads(text)
            if frame["type"] == "reserve":
                keys.append(frame["key"])
                swallow = next(cut, False)
            server.send(text)

        def from_gateway(text: str | bytes) -> None:
            if swallow and json.loads(text)["type"] == "hold":
                closing.append(asyncio.create_task(socket.close(code=4000, reason="cut")))
            else:
                socket.send(text)

        socket.on_message(from_page)
        server.on_message(from_gateway)

    await page.route_web_socket(SOCKET, patch)
    await arrive(page, demo)
    card = await on_sale(page)
    units = await left(card)
    await hold(page)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    await expect(card.locator(".stock")).to_have_text(f"{units - 1} left")
    await page.keyboard.press("Escape")
    await expect(page.locator("#yours .row")).to_have_count(1)


async def test_a_question_reaches_the_host(demo: Demo, new_page: NewPage) -> None:
    page = await opened(new_page, demo)
    await page.get_by_label("Ask the host").fill("Is it machine washable?")
    await page.keyboard.press("Enter")
    await expect(page.locator(".asked")).to_have_text("Your question is with the host.")
    await expect(page.get_by_label("Ask the host")).to_have_value("")


async def test_whoever_comes_to_a_full_show_sees_the_place_in_line_and_gets_in(
    demo: Demo, new_page: NewPage
) -> None:
    page = await new_page()
    places, asked = iter([1_234, 1]), []

    async def answer(route: Route) -> None:
        asked.append((route.request.post_data_json or {}).get("queue_token"))
        if not (place := next(places, 0)):
            return await route.continue_()
        told = {"position": place, "retry_after_ms": 1_000, "queue_token": f"q{place}"}
        await route.fulfill(status=202, json=told)

    await page.route(TICKETS, answer)
    await page.goto(demo.url)
    place = page.locator(".queue")
    await expect(place).to_contain_text("You are number1,234in line")
    await expect(page).to_have_title(re.compile("^Number 1,234 in line"))
    await expect(page.locator("#polite")).to_contain_text("You are number 1,234 in line.")
    await expect(place).to_contain_text("You arenextin line")
    await expect(page.locator(".product:not(.skeleton)").first).to_be_visible()
    await expect(place).to_be_hidden()
    await expect(page).to_have_title("Live show")
    assert asked[:3] == [None, "q1234", "q1"]


async def test_a_gateway_that_goes_away_is_not_noticed(demo: Demo, new_page: NewPage) -> None:
    page = await new_page()
    sockets: list[WebSocketRoute] = []
    connects: list[dict[str, Any]] = []

    def patch(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)

        def from_page(text: str | bytes) -> None:
            if (frame := json.loads(text))["type"] == "connect":
                connects.append(frame)
            server.send(text)

        socket.on_message(from_page)

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.route_web_socket(SOCKET, patch)
    await arrive(page, demo)
    cards = await page.locator(".product").count()
    await page.evaluate(WATCH_THE_LINE)
    sockets[0].send(json.dumps({"type": "drain", "within_ms": 20_000}))
    await sockets[0].close(code=1012)
    await hold(page)
    assert await page.evaluate("window.seen") == []
    assert await page.locator(".product").count() == cards
    assert ["resume" in connect for connect in connects] == [False, True]
    assert connects[0]["token"] != connects[1]["token"]
    assert len([url for url in asked if TICKETS.search(url)]) == 1


async def test_the_page_talks_to_its_gateway_and_to_nobody_else(
    demo: Demo, new_page: NewPage
) -> None:
    page = await new_page()
    await page.add_init_script("""window.seen = []; addEventListener(
      "securitypolicyviolation", ({ effectiveDirective }) => seen.push(effectiveDirective));""")
    await arrive(page, demo)
    assert await page.evaluate("seen") == []
    blocked = """async () => {
      await fetch("http://localhost:9/").catch(() => {});
      new WebSocket("ws://localhost:9/v1/live");
      await new Promise((next) => setTimeout(next));
      return seen;
    }"""
    assert await page.evaluate(blocked) == ["connect-src", "connect-src"]
