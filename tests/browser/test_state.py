"""The page's pure modules, run in Chromium itself: state, catalogue, money, words, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.browser.modules import bare_page, run

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def modules(browser: Browser) -> Page:
    return await bare_page(browser)


@pytest.mark.parametrize(
    ("epoch", "version", "left"),
    [(3, 11, 2), (3, 10, 4), (3, 9, 4), (4, 99, 4)],
    ids=["newer", "same again", "older", "of another epoch"],
)
async def test_stock_counts_only_if_newer_and_of_our_epoch(
    modules: Page, epoch: int, version: int, left: int
) -> None:
    push = f'{{ type: "stock", epoch: {epoch}, version: {version}, items: {{ mug: 2 }} }}'
    shown = await run(modules, f"return play(frame(welcome()), frame({push})).stock.items.mug")
    assert shown == left


async def test_the_countdown_runs_by_the_gateways_clock(modules: Page) -> None:
    body = """
      const late = { ...frame(welcome({ holds: [hold()] })), at: at + 3_600_000 };
      const now = play(late);
      return state.remaining(now, now.holds.h1, at + 3_600_000 + 5_000);
    """
    assert await run(modules, body) == 115_000


async def test_a_hold_that_ended_is_never_active_again(modules: Page) -> None:
    body = """
      return play(frame(welcome()), frame({ type: "hold", hold: hold(), version: 11 }),
        frame({ type: "hold", hold: hold({ state: "expired" }), version: 12 }),
        frame({ type: "hold", hold: hold(), version: 13 })).holds.h1.state;
    """
    assert await run(modules, body) == "expired"


async def test_a_hold_that_lapsed_while_we_were_away_is_expired(modules: Page) -> None:
    body = """
      return state.phase(play(frame(welcome({ holds: [hold()] })), frame(welcome())), "h1", at);
    """
    assert await run(modules, body) == "expired"


async def test_an_order_confirmed_while_we_were_away_is_confirmed(modules: Page) -> None:
    body = """
      const now = play(frame(welcome({ holds: [hold()] })), { type: "paying", hold: "h1" },
        frame(welcome({ orders: [order] })));
      return [state.phase(now, "h1", at), state.openHolds(now, at).length];
    """
    assert await run(modules, body) == ["confirmed", 0]


async def test_a_decline_leads_back_to_the_form_with_the_reason(modules: Page) -> None:
    body = """
      const now = play(frame(welcome({ holds: [hold()] })), { type: "paying", hold: "h1" },
        frame({ type: "checkout", hold: "h1", state: "declined", message: "No." }));
      return [state.phase(now, "h1", at), now.notes.h1.text];
    """
    assert await run(modules, body) == ["pay", "No."]


async def test_a_late_copy_of_the_banks_question_does_not_ask_again(modules: Page) -> None:
    body = """
      const asks = frame({ type: "checkout", hold: "h1", state: "requires_action",
        client_secret: "pi_1_secret_2" });
      const acted = { type: "acted", hold: "h1", clientSecret: "pi_1_secret_2" };
      const start = [frame(welcome({ holds: [hold()] })), asks];
      return [play(...start), play(...start, acted, asks)].map((now) => state.phase(now, "h1", at));
    """
    assert await run(modules, body) == ["requires_action", "processing"]


async def test_a_payment_that_ended_with_its_hold_says_so(modules: Page) -> None:
    body = """
      const over = { type: "checkout", hold: "h1", state: "declined", code: "hold_expired" };
      return state.phase(play(frame(welcome({ holds: [hold()] })), frame(over)), "h1", at);
    """
    assert await run(modules, body) == "expired"


async def test_unknown_frames_and_deeds_change_nothing(modules: Page) -> None:
    body = """
      const now = play(frame(welcome()));
      return state.reduce(now, frame({ type: "weather" })) === now
        && state.reduce(now, { type: "dance" }) === now;
    """
    assert await run(modules, body) is True


@pytest.mark.parametrize(
    ("before", "label"),
    [
        ("frame(welcome())", "Buy"),
        ("frame(welcome({ stock: { epoch: 3, version: 1, items: { mug: -2 } } }))", "Sold out"),
        ("frame(welcome({ show: { id: 't', title: 'T', state: 'scheduled' } }))", "Soon"),
        ("frame(welcome({ show: { id: 't', title: 'T', state: 'ended' } }))", "Show over"),
        ("frame(welcome({ holds: [hold()] }))", "Pay now"),
    ],
)
async def test_the_button_says_what_it_does(modules: Page, before: str, label: str) -> None:
    assert await run(modules, f"return state.offer(play({before}), 'mug', at).label") == label


async def test_variants_are_one_product(modules: Page) -> None:
    body = """
      const { products } = await import("/static/catalog.js");
      const entry = (sku, title, options) => ({ sku, title, price: usd(1), options });
      return products([entry("a", "Top", { Size: "S" }), entry("c", "Top", { Size: "L" }),
        entry("b", "Mug", { Title: "Default Title" })])
        .map(({ title, variants }) => [title, variants.length]);
    """
    assert await run(modules, body) == [["Top", 2], ["Mug", 1]]


async def test_money_has_its_currencys_decimals(modules: Page) -> None:
    body = """
      const { money } = await import("/static/money.js");
      return ["USD", "JPY", "KWD"].map((currency) => money({ amount: 12345, currency }, "en-US"));
    """
    shown = [text.replace("\N{NO-BREAK SPACE}", " ") for text in await run(modules, body)]
    assert shown == ["$123.45", "¥12,345", "KWD 12.345"]


async def test_every_error_is_told_in_words(modules: Page) -> None:
    body = """
      const { explain } = await import("/static/words.js");
      return ["sold_out", "limit_exceeded", "hold_expired", "total_changed", "payment_declined",
        "rate_limited", "overloaded", "unavailable", "show_not_live", "never_heard_of", undefined]
        .map((code) => explain({ code }));
    """
    for sentence in await run(modules, body):
        assert sentence.endswith((".", "?"))
        assert "_" not in sentence
        assert "undefined" not in sentence


async def test_a_breakdown_is_told_in_words_of_its_own(modules: Page) -> None:
    body = """
      const { explain } = await import("/static/words.js");
      const code = "unavailable";
      return ["frozen", "paused", "else"].map((reason) => explain({ code, reason }).slice(0, 10));
    """
    assert await run(modules, body) == ["One moment", "Checkout i", "The shop d"]


async def test_a_hold_that_was_lost_is_not_called_given_back(modules: Page) -> None:
    body = """
      const lost = { type: "hold", hold: hold({ state: "released" }), version: 11, reason: "lost" };
      const now = play(frame(welcome({ holds: [hold()] })), frame(lost));
      return [state.phase(now, "h1", at), state.openHolds(now, at).length];
    """
    assert await run(modules, body) == ["lost", 0]


async def test_waits_are_jittered_and_bounded(modules: Page) -> None:
    body = """
      const { jittered, pause } = await import("/static/retry.js");
      const limits = { base: 100, cap: 1_000 };
      return [0, 0.5, 1].flatMap((dice) => [jittered(0, limits, () => dice),
        jittered(50, limits, () => dice), pause(0, limits, 400, () => dice),
        pause(50, limits, 10 ** 9, () => dice)]);
    """
    assert await run(modules, body) == [
        0, 0, 400, 2000,
        50, 500, 600, 2500,
        100, 1000, 800, 3000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stock", "left", "catalog"),
    [
        ("{ epoch: 3, version: 10, items: {} }", {"mug": 4}, 1),
        ("{ epoch: 3, version: 11, items: { mug: 1 } }", {"mug": 1}, 1),
        ("{ epoch: 3, version: 11, items: { tee: 1 } }", {"tee": 1}, 1),
        ("{ epoch: 4, version: 10, items: { cap: 2 } }", {"cap": 2}, 1),
        ("{ epoch: 4, version: 10, items: {} }", {}, 1),
        ("{ epoch: 3, version: 10, items: {} }, catalog: []", {"mug": 4}, 0),
    ],
    ids=["ours", "newer", "without the mug", "another epoch", "all gone", "no products"],
)
async def test_what_a_welcome_leaves_out_stays_and_what_it_tells_replaces_all(
    modules: Page, stock: str, left: dict[str, int], catalog: int
) -> None:
    body = f"""
      const again = welcome({{ catalog: undefined, stock: {stock} }});
      const now = play(frame(welcome()), frame(again));
      return [now.stock.items, now.catalog.size, now.stock.version];
    """
    items, entries, version = await run(modules, body)
    assert (items, entries) == (left, catalog)
    assert f"version: {version}," in stock


async def test_the_way_in_line_is_shown_from_where_one_began(modules: Page) -> None:
    body = """
      const places = [80, 20, 90, undefined, 30]
        .map((position) => ({ type: "status", status: position ? "queued" : "open", position }));
      let now = state.initial;
      return places.map((event) => (now = state.reduce(now, event)).connection.from ?? 0);
    """
    assert await run(modules, body) == [80, 80, 90, 0, 30]
