"""The shopper's line to the gateway, in Chromium, with sockets that the test holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.browser.modules import bare_page, run

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
    return await bare_page(browser)


async def run_line(page: Page, body: str) -> Any:
    """The same, with a line whose sockets the test holds, and whose waits take no time."""
    return await run(page, f"{LINE} try {{ {body} }} finally {{ globalThis.setTimeout = real; }}")


@pytest.mark.parametrize(
    ("code", "then"),
    [(1006, "reconnect"), (1012, "reconnect"), (4001, "ticket"), (4009, "reconnect"),
     (4499, "reconnect"), (4500, "ticket"), (4501, "stop"), (4510, "stop"), (4999, "stop")],
)  # fmt: skip
async def test_the_close_code_decides_what_follows(modules: Page, code: int, then: str) -> None:
    body = f'return (await import("/static/connection.js")).afterClose({code})'
    assert await run(modules, body) == then


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


async def test_a_catalogue_that_has_changed_since_the_welcome_is_asked_for_again(
    modules: Page,
) -> None:
    """The old tag would be right again if the change was taken back while we were away."""
    body = """
      line().run();
      const first = await opened(1, { catalog_tag: "c7" });
      tell(first, { type: "catalog", items: [{ sku: "mug", title: "Mug", price: usd(900) }] });
      first.onclose({ code: 1006 });
      const second = await opened(2, { catalog_tag: "c7" });
      second.onclose({ code: 1006 });
      return [second, await opened(3)].map(({ sent }) => sent[0].resume);
    """
    assert await run_line(modules, body) == [
        {"epoch": 3, "version": 10},
        {"epoch": 3, "version": 10, "catalog_tag": "c7"},
    ]


async def test_each_socket_is_opened_with_the_token_of_the_last_welcome(modules: Page) -> None:
    body = """
      let asked = 0;
      const url = "ws://modules.test/v1/live";
      line({ admit: async () => ({ token: "t" + ++asked, url }) }).run();
      (await opened(1)).onclose({ code: 1012 });
      (await opened(2)).onclose({ code: 1006 });
      const unwelcome = await socket(3);
      unwelcome.onopen();
      unwelcome.onclose({ code: 1013 });
      const used = await socket(4);
      used.onopen();
      used.onclose({ code: 4001 });
      await opened(5);
      return [asked, sockets.map(({ sent }) => sent[0].token)];
    """
    tokens = ["t1", "next1", "next2", "next2", "t2"]
    assert await run_line(modules, body) == [2, tokens]


async def test_a_session_that_could_not_be_prolonged_is_prolonged_later(modules: Page) -> None:
    body = """
      let asked = 0;
      const url = "ws://modules.test/v1/live";
      line({ admit: async () => ({ token: "t" + ++asked, url }) }).run();
      const first = await opened(1, { token_ttl_s: 10 });
      const with_token = [];
      first.send = (text) => {
        const { id, token } = JSON.parse(text);
        with_token.push(token);
        tell(first, with_token.length === 1 ? { type: "error", id, code: "unavailable" }
          : { type: "ok", id, token: "fresh", token_ttl_s: 900 });
      };
      for (let turn = 0; with_token.length < 2 && turn < 50; turn++)
        await new Promise((next) => real(next, 5));
      await new Promise((next) => real(next, 5));
      first.onclose({ code: 1006 });
      const second = await opened(2);
      return [asked, with_token, second.sent[0].token];
    """
    assert await run_line(modules, body) == [1, ["next1", "next1"], "fresh"]


async def test_a_gateway_that_does_not_know_our_ticket_may_not_know_our_stock(
    modules: Page,
) -> None:
    """It may have been set up anew, and count its epochs and versions from the beginning."""
    body = """
      line().run();
      (await opened(1)).onclose({ code: 1012 });
      const second = await socket(2);
      second.onopen();
      second.onclose({ code: 4500 });
      return [second, await opened(3)].map(({ sent }) => sent[0].resume ?? null);
    """
    assert await run_line(modules, body) == [{"epoch": 3, "version": 10}, None]


async def test_a_welcome_that_does_not_come_is_not_waited_for_any_longer(modules: Page) -> None:
    """On a dead network the socket may take minutes to close."""
    body = """
      const { LIMITS } = await import("/static/connection.js");
      const noted = globalThis.setTimeout, late = [];
      globalThis.setTimeout = (then, ms) => (ms === LIMITS.welcome ? late.push(then)
        : noted(then, ms));
      line().run();
      (await socket(1)).onopen();
      late[0]();
      for (let turn = 0; sockets.length < 2 && turn < 50; turn++)
        await new Promise((next) => real(next, 5));
      return sockets.length;
    """
    assert await run_line(modules, body) == 2


async def test_a_session_is_prolonged_in_time_and_not_all_the_time(modules: Page) -> None:
    body = """
      line().run();
      const first = await opened(1, { token_ttl_s: 0 });
      let refreshed = 0;
      first.send = (text) => {
        const { id, type } = JSON.parse(text);
        if (type === "refresh")
          tell(first, { type: "ok", id, token: "r", token_ttl_s: ++refreshed < 3 ? 0 : 900 });
      };
      for (let at = 0; at < 50; at++) await new Promise((next) => real(next, 5));
      return [refreshed, waits.filter((ms) => ms === 1_000 || ms > 600_000)];
    """
    refreshed, [*short, long] = await run_line(modules, body)
    assert (refreshed, short) == (3, [1_000] * 3)
    assert long == pytest.approx(0.75 * 900_000, rel=0.01)


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


async def test_an_address_the_page_may_not_use_is_tried_again_like_any_other(modules: Page) -> None:
    """As ``ws:`` on a page that came by ``https:``, behind a proxy that does not say so."""
    body = """
    let opened = 0;
    const open = () => { if (++opened === 3) one.stop(); throw new Error("insecure"); };
    const one = line({ open });
    await one.run();
    return [opened, said.filter(([status]) => status === "waiting").length];
    """
    assert await run_line(modules, body) == [3, 2]
