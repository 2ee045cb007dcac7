"""The page at ``/``: with which headers it comes."""

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from gateway.settings import Settings
from gateway.web import pages

LOCAL = Settings()
SHOP = msgspec.structs.replace(
    LOCAL,
    public_url="https://shop.example/live",
    allowed_origins="https://www.shop.example, https://app.shop.example",
    stripe_publishable_key="pk_live_x",
)


async def page(settings: Settings, host: str = "127.0.0.1:8080") -> httpx.Headers:
    """The headers of the page."""
    app = httpx.ASGITransport(Starlette(routes=pages.routes(settings)))
    async with httpx.AsyncClient(transport=app, base_url="http://test") as client:
        answer = await client.get("/", headers={"Host": host})
    assert answer.status_code == 200
    return answer.headers


async def config(settings: Settings) -> dict[str, object]:
    """What the page is told."""
    app = httpx.ASGITransport(Starlette(routes=pages.routes(settings)))
    async with httpx.AsyncClient(transport=app, base_url="http://test") as client:
        told: dict[str, object] = (await client.get("/config.json")).json()
    return told


async def policy(settings: Settings, host: str = "127.0.0.1:8080") -> dict[str, list[str]]:
    text = (await page(settings, host))["content-security-policy"]
    directives = (part.split() for part in text.split(";"))
    return {name: sources for name, *sources in directives}


async def test_the_page_talks_to_us_and_to_nobody_else() -> None:
    told = await policy(LOCAL)
    assert told["connect-src"] == ["'self'", "ws://127.0.0.1:8080", "wss://127.0.0.1:8080"]
    assert told["default-src"] == told["base-uri"] == told["form-action"] == ["'none'"]
    assert (told["script-src"], told["frame-src"]) == (["'self'"], ["'none'"])
    assert told["frame-ancestors"] == ["'self'"]
    sandbox = msgspec.structs.replace(LOCAL, stripe_url="http://127.0.0.1:12111")
    assert (await policy(sandbox))["connect-src"][-1] == "http://127.0.0.1:12111"


async def test_a_browser_may_find_the_sandbox_elsewhere_than_we_do() -> None:
    browsers = "http://localhost:12111"
    inside = msgspec.structs.replace(LOCAL, stripe_url="http://stripe:12111", sandbox_url=browsers)
    assert (await policy(inside))["connect-src"][-1] == browsers
    assert (await config(inside))["sandbox_url"] == browsers
    assert (await config(LOCAL))["sandbox_url"] is None
    # Of Stripe itself there is no sandbox, whatever is set.
    alone = msgspec.structs.replace(LOCAL, sandbox_url=browsers)
    assert (await config(alone))["sandbox_url"] is None
    assert browsers not in (await policy(alone))["connect-src"]


async def test_behind_its_public_address_the_page_talks_there() -> None:
    told = await policy(SHOP, host="pod-1:8080")
    assert told["connect-src"] == ["'self'", "wss://shop.example", "https://api.stripe.com"]
    assert told["script-src"] == ["'self'", "https://js.stripe.com"]
    ours = ["https://www.shop.example", "https://app.shop.example"]
    assert told["frame-ancestors"] == ["'self'", *ours]


@pytest.mark.parametrize("host", ["x; script-src *", "a b", "*", "x'unsafe-inline'", "x,y", "[::1"])
async def test_nobody_writes_into_the_policy_by_a_host(host: str) -> None:
    assert (await policy(LOCAL, host))["connect-src"] == ["'self'"]


async def test_an_address_of_ipv6_is_one() -> None:
    assert (await policy(LOCAL, "[::1]:8080"))["connect-src"][1] == "ws://[::1]:8080"


async def test_the_page_has_no_powers_it_does_not_use() -> None:
    local, shop = await page(LOCAL), await page(SHOP)
    assert local["permissions-policy"].endswith("payment=(self)")
    assert shop["permissions-policy"].endswith('payment=(self "https://js.stripe.com")')
    assert "camera=()" in shop["permissions-policy"]
    assert local["cross-origin-opener-policy"] == "same-origin-allow-popups"
    assert (local["x-content-type-options"], local["referrer-policy"]) == ("nosniff", "no-referrer")


async def test_browsers_are_told_to_stay_with_https_where_there_is_https() -> None:
    assert (await page(SHOP))["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in await page(LOCAL)
