"""The page's pure modules, run in Chromium itself: state, catalogue, money, words, retry, lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.browser.conftest import STATIC

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
const welcome = (over) => ({ type: "welcome", id: 1, session: "s", now: "2026-11-21T20:00:00.000Z",
  show: { id: "tonight", title: "Tonight", state: "live" },
  catalog: [{ sku: "mug", title: "Mug", price: usd(1250) }],
  stock: { epoch: 3, version: 10, items: { mug: 4 } }, holds: [], orders: [], ping_s: 20,
  token_ttl_s: 900, ...over });
const play = (...events) =>
  events.reduce((now, event) => state.reduce(now, { at, ...event }), state.initial);
const frame = (frame) => ({ type: "frame", frame });
"""

LINE = """
const { Connection } = await import("/static/connection.js");
const sockets = [], waits = [], said = [], real = setTimeout;
// Waits of the line are noted instead of waited for; its deadlines are none of them.
globalThis.setTimeout = (then, ms) => (ms ? (waits.push(ms), real(ms >= 8_000 ? () => {} : then))
  : real(then));
const line = (options) => new Connection({
  show: "tonight", random: () => 1,
  admit: async () => ({ token: "t", url: "ws://modules.test/v1/live" }),
  open: () => {
    const socket = { sent: [], close() {}, send: (text) => socket.sent.push(JSON.parse(text)) };
    sockets.push(socket);
    return socket;
  },
  onFrame() {}, onStatus: (status, facts) => said.push([status, facts.position ?? facts.code]),
  ...options,
});
const socket = async (number) => {
  while (sockets.length < number) await new Promise((next) => real(next));
  return sockets[number - 1];
};
const tell = (socket, frame) => socket.onmessage({ data: JSON.stringify(frame) });
const opened = async (number, over) => {
  const one = await socket(number);
  one.onopen();
  tell(one, welcome(over));
  return one;
};
// How long the line waited, its deadlines left out.
const waited = () => waits.filter((ms) => ms < 8_000);
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def modules(browser: Browser) -> Page:
    """A page that has nothing but the modules, without a server."""
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
    return await page.evaluate(f"async () => {{ {PRELUDE} {body} }}")


async def run_line(page: Page, body: str) -> Any:
    """The same, with a line whose sockets the test holds, and whose waits take no time."""
    return await run(page, f"{LINE} try {{ {body} }} finally {{ globalThis.setTimeout = real; }}")


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
    ("code", "then"),
    [(1006, "reconnect"), (1012, "reconnect"), (4001, "ticket"), (4009, "reconnect"),
     (4499, "reconnect"), (4500, "ticket"), (4501, "stop"), (4510, "stop"), (4999, "stop")],
)  # fmt: skip
async def test_the_close_code_decides_what_follows(modules: Page, code: int, then: str) -> None:
    body = f'return (await import("/static/connection.js")).afterClose({code})'
    assert await run(modules, body) == then


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


async def test_a_line_that_comes_back_says_what_it_has(modules: Page) -> None:
    body = """
      line().run();
      const first = await opened(1, { catalog_tag: "c7" });
      tell(first, { type: "stock", epoch: 3, version: 12, items: { mug: 1 } });
      tell(first, { type: "stock", epoch: 3, version: 11, items: { mug: 2 } });
      first.onclose({ code: 4008 });
      const second = await opened(2, { stock: { epoch: 4, version: 1, items: {} } });
      second.onclose({ code: 4009 });
      const third = await opened(3);
      return [first, second, third].map(({ sent }) => sent[0].resume ?? null);
    """
    assert await run_line(modules, body) == [
        None,
        {"epoch": 3, "version": 12, "catalog_tag": "c7"},
        {"epoch": 4, "version": 1},
    ]


@pytest.mark.parametrize("code", [1012, 1006], ids=["closed in order", "cut off"])
async def test_a_gateway_that_goes_away_is_no_trouble(modules: Page, code: int) -> None:
    body = f"""
      line().run();
      const first = await opened(1);
      tell(first, {{ type: "drain", within_ms: 20_000 }});
      first.onclose({{ code: {code} }});
      await opened(2);
      return [said.map(([status]) => status), waited()];
    """
    assert await run_line(modules, body) == [["connecting", "open", "open"], [500]]


async def test_a_restart_without_a_word_before_is_no_trouble_either(modules: Page) -> None:
    body = """
      line({ random: () => 0.5 }).run();
      (await opened(1)).onclose({ code: 1012 });
      await opened(2);
      return [said.map(([status]) => status), waited()];
    """
    assert await run_line(modules, body) == [["connecting", "open", "open"], [250]]


@pytest.mark.parametrize(
    ("code", "waits"),
    [
        (1006, [400, 800, 1_600, 3_200]),
        (1012, [400, 800, 1_600, 3_200]),
        (1013, [1_000, 2_000, 4_000]),
    ],
    ids=["refused", "always going away", "overloaded"],
)
async def test_who_is_not_let_in_backs_off(modules: Page, code: int, waits: list[int]) -> None:
    body = f"""
      line().run();
      for (let at = 1; at <= {len(waits)}; at++) (await socket(at)).onclose({{ code: {code} }});
      await socket({len(waits)} + 1);
      return [waited(), [...new Set(said.map(([status]) => status))]];
    """
    assert await run_line(modules, body) == [waits, ["connecting", "waiting"]]


async def test_a_move_that_fails_is_told_and_backs_off(modules: Page) -> None:
    body = """
      line().run();
      (await opened(1)).onclose({ code: 1012 });
      (await socket(2)).onclose({ code: 1006 });
      (await socket(3)).onclose({ code: 1006 });
      await socket(4);
      return [said.map(([status]) => status), waited()];
    """
    statuses, waits = await run_line(modules, body)
    assert statuses == ["connecting", "open", "waiting", "connecting", "waiting", "connecting"]
    assert waits == [500, 400, 800]


@pytest.mark.parametrize("code", [4008, 4009, 4029])
async def test_whoever_is_sent_back_spreads_out(modules: Page, code: int) -> None:
    body = f"""
      line({{ random: () => 0.25 }}).run();
      (await opened(1)).onclose({{ code: {code} }});
      await opened(2);
      return waited();
    """
    assert await run_line(modules, body) == [100]


async def test_a_place_in_line_is_kept_and_shown_until_it_is_ours(modules: Page) -> None:
    body = """
      const asked = [];
      const place = (position) =>
        ({ position, retry_after_ms: 3_000, queue_token: "q" + position });
      const lost = Object.assign(new Error(), { status: 401, retryable: false, code: "x" });
      const answers = [place(7), place(3), new Error("nobody answers"), place(2), lost, place(9),
        { token: "t", url: "ws://modules.test/v1/live" }];
      line({ random: () => 0, admit: async (token) => {
        asked.push(token ?? null);
        const answer = answers.shift();
        if (answer instanceof Error) throw answer;
        return answer;
      } }).run();
      await opened(1);
      return [asked, said.map(([status, fact]) => fact ?? status), waited()];
    """
    asked, said, waits = await run_line(modules, body)
    assert asked == [None, "q7", "q3", "q3", "q2", None, "q9"]
    assert said == [7, 3, 2, 9, "connecting", "open"]
    assert waits == [3_000, 3_000, 3_000, 3_000]


async def test_who_waits_in_line_is_never_silent_for_long(modules: Page) -> None:
    body = """
      const { QUEUE, jittered } = await import("/static/retry.js");
      const most = 10_000; // what the gateway tells at most
      return Math.max(most + jittered(0, QUEUE, () => 1), jittered(50, QUEUE, () => 1));
    """
    assert await run(modules, body) < 15_000


async def test_a_command_without_an_answer_is_sent_again_unchanged(modules: Page) -> None:
    body = """
      const { Connection } = await import("/static/connection.js");
      const sockets = [];
      const line = new Connection({
        show: "tonight", random: () => 0,
        admit: async () => ({ token: "t", url: "ws://modules.test/v1/live" }),
        open: () => {
          const sent = [];
          const socket = { sent, close() {}, send: (text) => sent.push(JSON.parse(text)) };
          sockets.push(socket);
          return socket;
        },
        onFrame() {}, onStatus() {},
      });
      const opened = async (number) => {
        while (sockets.length < number) await new Promise((next) => setTimeout(next));
        const socket = sockets[number - 1];
        socket.onopen();
        socket.onmessage({ data: JSON.stringify(welcome()) });
        return socket;
      };
      line.run();
      const first = await opened(1);
      const reply = line.request("reserve", { key: "k1", lines: [] });
      const once = { resend: false };
      const question = line.request("ask", { text: "?" }, once).catch(() => "not sent");
      first.onclose({ code: 1012 });
      const second = await opened(2);
      const [, before] = first.sent, [connect, again] = second.sent;
      second.onmessage({ data: JSON.stringify({ type: "hold", id: again.id, hold: hold() }) });
      return [before, again, (await reply).hold.id, await question, connect.resume];
    """
    before, again, hold, question, resume = await run(modules, body)
    assert before == again
    assert again["key"] == "k1"
    assert hold == "h1"
    assert question == "not sent"
    assert resume == {"epoch": 3, "version": 10}
