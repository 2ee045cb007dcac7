"""Our bounds on uvicorn's HTTP class, and a watch on the base class they rest on."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.api import hall as halls
from gateway.api import server
from gateway.api.hall import Hall
from gateway.api.server import MOST_HEAD_BYTES, MOST_HEADERS, MOST_PIPELINED, listening
from gateway.problems import MEDIA_TYPE

PATIENCE_S = 10
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


def test_the_base_class_is_as_we_know_it() -> None:
    ours = ("connection_made", "connection_lost", "data_received", "on_message_begin", "on_url")
    more = ("on_header", "on_headers_complete", "on_body", "on_message_complete")
    used = ("on_response_complete", "resume_writing", "handle_websocket_upgrade")
    rest = ("_should_upgrade", "_unset_keepalive_if_required", "_start_asgi_task")
    for name in (*ours, *more, *used, *rest):
        assert callable(vars(HttpToolsProtocol)[name])
    names = set(HttpToolsProtocol.__init__.__code__.co_names)
    assert {"transport", "flow", "pipeline", "headers", "cycle", "parser", "loop"} <= names
    theirs = set(RequestResponseCycle.__init__.__code__.co_names)
    assert {"disconnected", "response_started", "response_complete", "message_event"} <= theirs
    assert "pipeline" in HttpToolsProtocol.on_headers_complete.__code__.co_names
    assert not hasattr(HttpToolsProtocol, "on_chunk_header")


@contextlib.asynccontextmanager
async def serving(hall: Hall, app: Any) -> AsyncIterator[int]:
    """An application behind our class, on a port."""
    config = uvicorn.Config(
        app, http=listening(hall), ws="none", lifespan="off", log_config=None, interface="asgi3"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        it = uvicorn.Server(config)
        running = asyncio.create_task(it._serve([listener]))
        while not it.started:
            await asyncio.sleep(0.005)
        yield listener.getsockname()[1]
        it.should_exit = True
        await running


def hall(most: int = 100, head_s: float = 60, body_s: float = 60, slow_s: float = 60) -> Hall:
    return Hall(most, head_s, body_s, slow_s)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halls, "LOOKS_EVERY_S", 0.01)
    monkeypatch.setattr(server, "LINGER_S", 0.1)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path; ``/body`` reads the body first, ``/wait`` never answers."""
    if scope["path"] == "/body":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    if scope["path"] == "/wait":
        await receive()
        await receive()
        return
    said = scope["path"].encode()
    length = str(len(said)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": said})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def says(self, data: bytes) -> None:
        self.writer.write(data)

    async def all(self) -> bytes:
        """What is answered until the end."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"reset"

    async def answer(self, path: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(path)


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    it = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield it
    finally:
        it.writer.transport.abort()


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


async def test_requests_are_answered_one_after_the_other_and_the_connection_is_kept() -> None:
    it = hall(1)
    async with serving(it, app) as port, client(port) as one:
        for path in (b"a", b"b"):
            one.says(GET % path)
            assert status(await one.answer(b"/" + path)) == 200
        one.says(b"".join(GET % path for path in (b"c", b"d", b"e")))
        assert (await one.answer(b"/e")).count(b"200 OK") == 3
        one.says(POST + b"x" * 100 + GET % b"f")
        assert (await one.answer(b"/f")).count(b"200 OK") == 2
    assert it.cut == 0


@pytest.mark.parametrize(
    "said", [b"", b"\r\n", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: y"], ids=range(4)
)
async def test_a_head_must_come_in_time_were_nothing_of_it_said(said: bytes) -> None:
    it = hall(head_s=0.1)
    async with serving(it, app) as port, client(port) as one:
        one.says(said)
        answer = await one.all()
        if b"G" in said:
            assert status(answer) == 408
            assert MEDIA_TYPE.encode() in answer
        else:
            assert answer == b""
        await until(lambda: len(it) == 0)
        assert it.cut == 1


async def test_the_next_head_must_come_in_time_as_well() -> None:
    it = hall(head_s=0.3)
    async with serving(it, app) as port, client(port) as one:
        one.says(GET % b"a")
        await one.answer(b"/a")
        one.says(b"GET /b")
        assert status(await one.all()) == 408


async def test_a_head_that_is_dripped_has_no_more_time() -> None:
    async with serving(hall(head_s=0.3), app) as port, client(port) as one:
        whole = asyncio.create_task(one.all())
        one.says(b"GET / HTTP/1.1\r\nX-Long: ")
        while not whole.done():
            one.says(b"y")
            await asyncio.wait([whole], timeout=0.02)
        assert status(await whole) == 408


async def test_a_body_must_come_in_time() -> None:
    it = hall(body_s=0.1)
    async with serving(it, app) as port, client(port) as one:
        one.says(POST + b"half of it")
        assert status(await one.all()) == 408
        await until(lambda: len(it) == 0)


async def test_an_answer_may_take_its_time() -> None:
    async with serving(hall(head_s=0.05, body_s=0.05), app) as port, client(port) as one:
        one.says(GET % b"wait")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await one.reader.read()


async def test_a_body_that_nobody_wanted_is_not_waited_for_long() -> None:
    """The base class would let it come for ever: each byte ends the wait for the next request."""
    async with serving(hall(), app) as port, client(port) as one:
        one.says(POST.replace(b"/body", b"/none"))
        await one.answer(b"/none")
        whole = asyncio.create_task(one.all())
        for _ in range(90):
            one.says(b"x")
            await asyncio.wait([whole], timeout=0.02)
            if whole.done():
                break
        assert await whole in {b"", b"reset"}


async def test_who_sent_a_body_that_nobody_wanted_is_not_kept_for_ever() -> None:
    it = hall(head_s=0.2)
    async with serving(it, app) as port, client(port) as one:
        one.says(POST.replace(b"/body", b"/none"))
        await one.answer(b"/none")
        one.says(b"x" * 100)
        await until(lambda: len(it._silent) == 1)
        assert await one.all() in {b"", b"reset"}
        assert len(it) == 0


LONG = b"y" * (MOST_HEAD_BYTES + 1)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + LONG,
        b"GET / HTTP/1.1\r\nX-Long: " + LONG,
        b"GET / HTTP/1.1\r\n" + LONG,
        b"GET / HTTP/1.1\r\nX-Long: " + LONG + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MOST_HEADERS + 1) + b"\r\n",
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: " + 2 * LONG,
    ],
    ids=["address", "value", "name", "whole", "many", "trailer"],
)
async def test_a_head_may_be_only_so_large(head: bytes) -> None:
    async with serving(hall(), app) as port, client(port) as one:
        for at in range(0, len(head), 1_000):
            one.says(head[at : at + 1_000])
            await asyncio.sleep(0)
        assert status(await one.all()) == 431


async def test_a_large_body_is_no_head() -> None:
    async with serving(hall(), app) as port, client(port) as one:
        size = 20 * MOST_HEAD_BYTES
        one.says(POST.replace(b"100", str(size).encode()) + b"x" * size)
        assert status(await one.answer(b"/body")) == 200
        one.says(b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        one.says(b"1\r\nx\r\n" * MOST_HEAD_BYTES + b"0\r\n\r\n")
        assert status(await one.answer(b"/body")) == 200


async def test_what_is_no_request_is_refused_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(hall(), app) as port, client(port) as one:
        one.says(b"4242 4242 4242 4242\r\n\r\n")
        assert status(await one.all()) == 400
    assert "request" not in caplog.text


@pytest.mark.parametrize("before", [b"", GET % b"a"])
async def test_an_address_that_is_none_is_refused_and_breaks_nothing(
    before: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(hall(), app) as port, client(port) as one:
        if before:
            one.says(before)
            await one.answer(b"/a")
        one.says(b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(await one.all()) == 400
    assert caplog.records == []


async def test_only_so_many_may_wait_for_the_answer_to_another() -> None:
    it = hall()
    async with serving(it, app) as port, client(port) as one:
        one.says(GET % b"wait" + GET % b"a" * (MOST_PIPELINED + 1))
        assert await one.all() in {b"", b"reset"}
        assert (it.cut, len(it)) == (1, 0)


async def test_who_finds_no_room_is_told_when_to_come_back() -> None:
    it = hall(1)
    async with serving(it, app) as port, client(port) as one:
        one.says(GET % b"wait")
        await until(lambda: not it._silent)
        async with client(port) as two:
            two.says(GET % b"a")
            answer = await two.all()
        assert status(answer) == 503
        assert b"retry-after: 1\r\n" in answer
        await until(lambda: it.turned_away == 0)
        assert (it.refused, len(it)) == (1, 1)


async def test_the_longest_silent_goes_for_a_newcomer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halls, "_LEAST_S", 0)
    it = hall(2)
    async with serving(it, app) as port, client(port) as first, client(port) as second:
        for one in (first, second):
            one.says(GET % b"a")
            await one.answer(b"/a")
        async with client(port) as newcomer:
            newcomer.says(GET % b"b")
            assert status(await newcomer.answer(b"/b")) == 200
            assert await first.all() == b""
            second.says(GET % b"c")
            assert status(await second.answer(b"/c")) == 200


async def test_bodies_that_do_not_come_leave_room_for_newcomers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halls, "_LEAST_S", 0)
    it = hall(2)
    async with serving(it, app) as port, client(port) as first, client(port) as second:
        for one in (first, second):
            one.says(POST + b"half of it")
            await until(lambda: len(it._silent) == len(it))
        async with client(port) as newcomer:
            newcomer.says(GET % b"b")
            assert status(await newcomer.answer(b"/b")) == 200
            assert await first.all() in {b"", b"reset"}
            second.says(b"x" * 90)
            assert status(await second.answer(b"/body")) == 200


async def test_who_is_being_answered_does_not_go_for_a_newcomer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halls, "_LEAST_S", 0)
    it = hall(1)
    async with serving(it, app) as port, client(port) as one:
        one.says(GET % b"wait" + POST)
        await until(lambda: not it._silent)
        async with client(port) as two:
            two.says(GET % b"a")
            assert status(await two.all()) == 503


async def test_an_answer_that_nobody_reads_ends_the_connection() -> None:
    it = hall(slow_s=0.2)
    async with serving(it, flooding) as port, client(port) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        one.says(GET % b"a")
        await until(lambda: len(it) == 1)
        await until(lambda: len(it) == 0)
        assert it.cut == 1


async def flooding(_: Any, __: Any, send: Any) -> None:
    """Answers without end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _nth in range(10_000):
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_whoever_reads_slowly_is_left_in_peace() -> None:
    it = hall(slow_s=0.2)
    async with serving(it, flooding) as port, client(port) as one:
        one.says(GET % b"a")
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(30):
                await one.reader.readexactly(1_000_000)
                await asyncio.sleep(0.02)
        assert it.cut == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)
