"""The page's modules by themselves, run in Chromium without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.browser.conftest import STATIC

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

ORIGIN = "http://modules.test"

PRELUDE = """
const state = await import("/static/state.js");
const at = Date.parse("2026-11-21T20:00:00.000Z");
const usd = (amount) => ({ amount, currency: "USD" });
const mug = { sku: "mug", quantity: 1, unit_price: usd(1250), location: "main" };
const hold = (over) => ({ id: "h1", state: "active", lines: [mug], total: usd(1250),
  expires_at: "2026-11-21T20:02:00.000Z", fulfillment: { type: "ship" }, ...over });
const order = { id: "o1", hold: "h1", order_version: 1, state: "confirmed", lines: [mug],
  total: usd(1250) };
let welcomes = 0;
const welcome = (over) => ({ type: "welcome", id: 1, session: "s", now: "2026-11-21T20:00:00.000Z",
  show: { id: "tonight", title: "Tonight", state: "live" },
  catalog: [{ sku: "mug", title: "Mug", price: usd(1250) }],
  stock: { epoch: 3, version: 10, items: { mug: 4 } }, holds: [], orders: [], ping_s: 20,
  token: "next" + ++welcomes, token_ttl_s: 900, ...over });
const play = (...events) =>
  events.reduce((now, event) => state.reduce(now, { at, ...event }), state.initial);
const frame = (frame) => ({ type: "frame", frame });
"""


async def bare_page(browser: Browser) -> Page:
    """A page that has nothing but the modules."""
    page = await browser.new_page()

    async def serve(route: Route) -> None:
        path = route.request.url.removeprefix(f"{ORIGIN}/static/")
        if path.endswith(".js"):
            await route.fulfill(path=STATIC / path, content_type="text/javascript")
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    await page.route(f"{ORIGIN}/**", serve)
    await page.goto(f"{ORIGIN}/")
    return page


async def run(page: Page, body: str) -> Any:
    """What a function body returns that has the prelude."""
    return await page.evaluate(f"async () => {{ {PRELUDE} {body} }}")
