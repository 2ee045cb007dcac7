"""One delivery, to a real till and to servers that misbehave."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from gateway.clock import SystemClock
from gateway.orders import entry
from gateway.orders.stream import Entry
from gateway.pos.delivery import Line, Outcome, Verdict
from gateway.pos.fence import FENCED, Fence
from gateway.pos.webhooks import Webhook
from gateway.sandbox import till
from tests.sales import event_of

SECRET = "whsec_" + "QUJD" * 8
TIMEOUT_S = 30.0
HASTY_S = 0.5
TLS = ssl.create_default_context()
HERE = Fence.around("127.0.0.0/8")

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def entry_of(order: str) -> Entry:
    event = event_of("acme", order)
    return Entry("1-0", order, event.id, entry.encode(event))


@contextlib.asynccontextmanager
async def line_to(
    url: str, secret: str = SECRET, fence: Fence = HERE, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[Line]:
    line = Line(Webhook(url, secret), timeout_s, 2, TLS, fence, SystemClock())
    yield line
    await line.close()


@contextlib.asynccontextmanager
async def answering(serve: Serve) -> AsyncIterator[str]:
    """A server that does with a connection what it likes."""

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve_and_close, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/orders"


async def post_to(serve: Serve, timeout_s: float = TIMEOUT_S) -> Outcome:
    async with answering(serve) as url, line_to(url, timeout_s=timeout_s) as line:
        return await line.post(entry_of("o1"))


def replying(text: str) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text.replace("\n", "\r\n").encode())
        await writer.drain()

    return serve


async def test_a_till_takes_a_signed_event() -> None:
    async with till.serving(":memory:", SECRET) as url, line_to(f"{url}/orders") as line:
        assert await line.post(entry_of("o1")) == Outcome(Verdict.DONE)
        async with httpx.AsyncClient(trust_env=False) as http:
            (event,) = (await http.get(f"{url}/orders")).json()
    assert event["id"] == "evt_o1_1"
    assert event["data"]["contact"]["name"] == "Ada Żółć"


async def test_a_till_with_another_secret_refuses() -> None:
    other = "whsec_" + "REVG" * 8
    async with till.serving(":memory:", SECRET) as url, line_to(f"{url}/orders", other) as line:
        assert await line.post(entry_of("o1")) == Outcome(Verdict.AGAIN, "status 401")


async def test_the_request_is_a_cloud_event_with_the_headers_of_standard_webhooks() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    assert await post_to(serve) == Outcome(Verdict.DONE)
    head = seen[0].decode().lower()
    assert head.startswith("post /orders http/1.1\r\n")
    assert "content-type: application/cloudevents+json\r\n" in head
    assert "webhook-id: evt_o1_1\r\n" in head
    assert "webhook-signature: v1," in head
    assert "webhook-timestamp: " in head


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("HTTP/1.1 200 OK\ncontent-length: 0\n\n", Outcome(Verdict.DONE)),
        ("HTTP/1.1 202 Accepted\ncontent-length: 2\n\nok", Outcome(Verdict.DONE)),
        ("HTTP/1.1 409 Conflict\ncontent-length: 0\n\n", Outcome(Verdict.DONE)),
        ("HTTP/1.1 410 Gone\ncontent-length: 0\n\n", Outcome(Verdict.STOP, "status 410")),
        (
            "HTTP/1.1 503 Busy\nretry-after: 7\ncontent-length: 0\n\n",
            Outcome(Verdict.AGAIN, "status 503", 7.0),
        ),
        (
            "HTTP/1.1 302 Found\nlocation: /other\ncontent-length: 0\n\n",
            Outcome(Verdict.AGAIN, "status 302"),
        ),
        ("HTTP/1.1 422 No\ncontent-length: 0\n\n", Outcome(Verdict.AGAIN, "status 422")),
        ("nonsense\n\n", Outcome(Verdict.AGAIN, "RemoteProtocolError")),
    ],
)
async def test_what_an_answer_means(answer: str, outcome: Outcome) -> None:
    assert await post_to(replying(answer)) == outcome


async def test_a_lost_answer_means_try_again() -> None:
    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    assert (await post_to(hang_up)).verdict is Verdict.AGAIN


async def test_an_answer_that_never_comes_means_try_again() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    assert await post_to(silence, HASTY_S) == Outcome(Verdict.AGAIN, "no answer within 0.5 s")


async def test_an_answer_that_drips_for_ever_is_cut_off() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    assert await post_to(drip, HASTY_S) == Outcome(Verdict.AGAIN, "no answer within 0.5 s")


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
        while True:
            writer.write(b"." * 65_536)
            await writer.drain()

    assert await post_to(flood) == Outcome(Verdict.DONE)


async def test_where_nobody_listens_nobody_is_there() -> None:
    async with answering(replying("")) as url:
        pass
    async with line_to(url) as line:
        assert await line.post(entry_of("o1")) == Outcome(Verdict.UNREACHABLE, "ConnectError")


async def test_an_event_that_cannot_be_sent_is_a_failed_delivery_not_a_crash() -> None:
    broken = Entry("1-0", "o1", "evt_o1_1", b"\xff")
    async with line_to("http://127.0.0.1:9/") as line:
        assert await line.post(broken) == Outcome(Verdict.AGAIN, "UnicodeDecodeError")


def counting(calls: list[bytes], reply: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.read(4_096))
        writer.write(reply)
        await writer.drain()

    return serve


async def test_a_delivery_to_where_only_we_can_reach_is_not_made() -> None:
    calls: list[bytes] = []
    serve = counting(calls, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    async with answering(serve) as url:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
            elsewhere = url.replace("127.0.0.1", host)
            async with line_to(elsewhere, fence=Fence()) as line:
                outcome = await line.post(entry_of("o1"))
            assert outcome == Outcome(Verdict.AGAIN, f"fenced: {FENCED}"), host
        assert calls == []
        async with line_to(url) as line:
            assert await line.post(entry_of("o1")) == Outcome(Verdict.DONE)
        assert len(calls) == 1


async def test_no_redirect_leads_around_the_fence() -> None:
    inside: list[bytes] = []
    async with answering(counting(inside, b"HTTP/1.1 200 OK\r\n\r\n")) as hidden:
        moved = f"HTTP/1.1 307 Moved\nlocation: {hidden}\ncontent-length: 0\n\n"
        outcome = await post_to(replying(moved))
    assert outcome == Outcome(Verdict.AGAIN, "status 307")
    assert inside == []


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    outcome = await post_to(replying("HTTP/1.1 200 OK\ncontent-length: 0\n\n"))
    assert outcome == Outcome(Verdict.DONE)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_server_is_asked_for_by_its_name(scheme: str) -> None:
    """For its certificate (in the first record of TLS), and as the host."""
    calls: list[bytes] = []

    async def resolve(host: str, _: int) -> list[str]:
        assert host == "till.example"
        return ["127.0.0.1"]

    fence = Fence(HERE.inside, resolve)
    async with answering(counting(calls, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as url:
        named = url.replace("http://127.0.0.1", f"{scheme}://till.example")
        async with line_to(named, fence=fence) as line:
            outcome = await line.post(entry_of("o1"))
    assert b"till.example" in calls[0]
    assert outcome.verdict is (Verdict.DONE if scheme == "http" else Verdict.UNREACHABLE)
