"""Our mends to uvicorn's WebSocket class, and a watch on the base class they rest on."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import msgspec
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from gateway.news import News, publish
from gateway.sockets.direct import Encoded, Write
from gateway.sockets.door import Door
from gateway.sockets.outbox import Outbox
from gateway.sockets.server import SocketProtocol, serving
from tests.integration.conftest import Site
from tests.wire import READY, REQUEST, Line, Wire, line

PATIENCE_S = 15


def test_the_base_class_is_as_we_know_it() -> None:
    methods = ("connection_made", "data_received", "run_asgi", "send", "keepalive_timeout")
    more = ("shutdown", "connection_lost", "start_keepalive", "send_keepalive_ping")
    rooms = ("pause_writing", "resume_writing", "eof_received", "send_receive_event_to_app")
    for name in (*methods, *more, *rooms):
        assert callable(vars(WebSocketsSansIOProtocol)[name])
    names = set(WebSocketsSansIOProtocol.__init__.__code__.co_names)
    assert {"handshake_complete", "close_sent", "transport", "loop", "conn"} <= names
    assert {"writable", "queue", "read_paused", "frames", "handshake_initiated"} <= names
    assert {"ping_interval", "ping_timer", "curr_msg_data_type"} <= names
    accepting = WebSocketsSansIOProtocol.send.__code__.co_names
    assert accepting.count("start_keepalive") == 1


async def test_a_refused_upgrade_is_not_logged_as_an_error(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(InvalidStatus) as refused:
        await connect(site.socket_url)
    assert refused.value.response.status_code == 422
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_no_frame_no_header_and_no_unknown_address_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with site.shopper("ann") as ann:
        await ann.ask("ask", text="the-secret-of-ann")
    for address in (f"{site.socket_url}/the-secret-of-ann", f"{site.url}/?the-secret-of-ann"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(address.replace("http", "ws"))
        assert refused.value.response.status_code == 403
    logged = [one.getMessage() for one in caplog.records if one.name == "uvicorn.error"]
    assert any("/v1/live" in line for line in logged)
    assert not any("secret" in line or "Bearer" in line for line in logged)


async def test_a_peer_that_never_reads_again_is_freed(site: Site) -> None:
    """An orderly close would wait for ever: its buffers are full and nobody empties them."""
    large = msgspec.Raw(msgspec.json.encode("x" * 300_000))
    async with site.shopper("ann") as ann:
        ann.socket.transport.pause_reading()
        for _ in range(60):
            news = News(shopper="ann", frame=large)
            await publish(site.rooms.lane, site.shop, news)
        async with asyncio.timeout(PATIENCE_S):
            while any(isinstance(one, SocketProtocol) for one in connections(site)):
                await publish(site.rooms.lane, site.shop, News(shopper="ann", frame=large))
                await asyncio.sleep(0.02)
        ann.socket.transport.abort()


async def test_an_upgrade_is_refused_before_anything_is_made_for_it() -> None:
    """It rests on what the HTTP class does with what it takes for a class."""
    door = Door(1)
    made = serving(door, random.Random(1))
    config = uvicorn.Config(_unheard, interface="asgi3", ws=made, log_config=None)
    config.load()
    wires, states = (Wire(), Wire()), [uvicorn.server.ServerState() for _ in range(2)]
    for wire, state in zip(wires, states, strict=True):
        http = HttpToolsProtocol(config, state, {})
        http.connection_made(wire)
        http.data_received(REQUEST)
    assert [type(wire.protocol) is SocketProtocol for wire in wires] == [True, False]
    assert [len(state.tasks) for state in states] == [1, 0]
    assert [len(state.connections) for state in states] == [1, 0]
    assert wires[1].closing
    assert wires[1].written[0].startswith(b"HTTP/1.1 503")
    assert (door.open, door.refused) == (1, {"full": 1})
    wires[1].protocol.data_received(b"more")
    wires[1].protocol.connection_lost(None)
    assert door.open == 1
    wires[0].protocol.connection_lost(None)
    assert door.open == 0
    await asyncio.gather(*states[0].tasks)


async def test_a_refused_peer_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sockets.server.GRACE_S", 0.01)
    refusal: Any = serving(Door(0), random.Random(1))
    wire = Wire()
    wire.waiting = 1_000
    refusal(None, None, {}).connection_made(wire)
    async with asyncio.timeout(PATIENCE_S):
        await wire.aborted.wait()


async def test_sockets_that_came_together_are_not_pinged_together() -> None:
    """First pings come any time within the interval, which is 20 s."""
    async with contextlib.AsyncExitStack() as stack:
        rng, loop = random.Random(1), asyncio.get_running_loop()
        waits_s = []
        for _ in range(60):
            before_s = loop.time()
            it = await stack.enter_async_context(line(rng))
            assert it.protocol.ping_timer
            at_s = it.protocol.ping_timer.when()
            assert before_s < at_s <= loop.time() + 20
            waits_s.append(at_s - before_s)
        assert len({int(wait_s / 4) for wait_s in waits_s}) >= 5


def frame(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def test_small_text_goes_the_short_way_and_all_else_the_long_one_in_order() -> None:
    stream = [
        (frame(b"1") + frame(b"2"), [("short", "1"), ("short", "2")]),
        (frame(b"3"), [("short", "3")]),
        (frame(b"", Opcode.PING), []),
        (frame(b"4"), [("short", "4")]),
        (frame(b"5", fin=False), []),
        (frame(b"", Opcode.PING), []),
        (frame(b"6", Opcode.CONT), [("long", "56")]),
        (frame(b"7"), [("short", "7")]),
        (frame(b"8" * 1_025), [("long", "8" * 1_025)]),
        (frame(b"9", Opcode.BINARY), [("long", "binary")]),
        (frame(b"10"), [("short", "10")]),
        (frame(b"11", fin=False) + frame(b"12", Opcode.CONT), [("long", "1112")]),
        (frame(b"13"), [("short", "13")]),
    ]
    async with line() as it:
        for data, heard in stream:
            await it.brings(data)
            assert it.heard == heard, data
            it.heard.clear()


async def test_what_follows_a_frame_of_the_long_way_does_not_overtake_it() -> None:
    async with line() as it:
        await it.brings(frame(b"1" * 1_025) + frame(b"2") + frame(b"3"))
        await it.brings(frame(b"4"))
    assert [text for _, text in it.heard] == ["1" * 1_025, "2", "3", "4"]


async def test_the_short_way_waits_until_the_long_one_is_empty() -> None:
    """A transport may bring what it had read already when it was asked to pause."""
    async with line() as it:
        it.protocol.data_received(frame(b"1" * 1_025))
        assert it.wire.paused
        it.protocol.data_received(frame(b"2"))
        await it.brings(frame(b"3"))
    assert [text for _, text in it.heard] == ["1" * 1_025, "2", "3"]


async def test_frames_may_come_in_any_pieces() -> None:
    texts = ["1", "22", "a word", "3" * 130, "Größe", "4"]
    stream = b"".join(frame(text.encode()) for text in texts)
    stream += frame(b"be", fin=False) + frame(b"gun", Opcode.CONT) + frame(b"last")
    pieces = [[stream[:cut], stream[cut:]] for cut in range(1, len(stream))]
    pieces.append([stream[at : at + 1] for at in range(len(stream))])
    for cut in pieces:
        async with line() as it:
            for piece in cut:
                await it.brings(piece)
        assert [text for _, text in it.heard] == [*texts, "begun", "last"]


class Outlet:
    """Is told what may be written."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.write: Write | None = None

    def free(self, write: Write) -> None:
        self.said.append("free")
        self.write = write

    def full(self) -> None:
        self.said.append("full")

    def gone(self) -> None:
        self.said.append("gone")


async def test_an_outlet_is_told_when_it_may_write_and_how() -> None:
    async with line() as it:
        outlet = Outlet()
        it.protocol.attach(outlet, 65_536, 16_384)
        assert (outlet.said, it.wire.limits) == (["free"], 16_384)
        assert it.wire.get_extra_info("socket").buffers == [(SOL_SOCKET, SO_SNDBUF, 65_536)]
        assert outlet.write is not None
        outlet.write(READY)
        assert it.wire.written == [READY]
        it.protocol.pause_writing()
        it.protocol.resume_writing()
        assert outlet.said == ["free", "full", "free"]
        await it.brings(frame(b"\x03\xe8", Opcode.CLOSE))
        assert outlet.said[3:] == ["gone"]
    assert outlet.said[3:] == ["gone"]


@pytest.mark.parametrize(
    "ends",
    [
        lambda it: it.protocol.shutdown(),
        lambda it: it.protocol.keepalive_timeout(),
        lambda it: it.protocol.data_received(frame(b"\xff")),
        lambda it: it.protocol.detach(),
    ],
    ids=["stopped", "silent", "wrong", "served"],
)
async def test_an_outlet_is_told_when_it_is_over(ends: Callable[[Line], None]) -> None:
    async with line() as it:
        outlet = Outlet()
        it.protocol.attach(outlet, 65_536, 16_384)
        ends(it)
        assert outlet.said == ["free", "gone"]


async def test_nothing_is_written_after_our_own_goodbye_and_nothing_heard() -> None:
    async with line() as it:
        outlet = Outlet()
        it.protocol.attach(outlet, 65_536, 16_384)
        await it.protocol.send({"type": "websocket.close", "code": 4008, "reason": None})
        assert outlet.said == ["free", "gone"]
        it.wire.written.clear()
        await it.brings(frame(b"late"))
        assert (it.wire.written, it.heard) == ([], [])


async def test_a_goodbye_does_not_wait_for_room() -> None:
    async with line() as it:
        it.protocol.pause_writing()
        async with asyncio.timeout(PATIENCE_S):
            await it.protocol.send({"type": "websocket.close", "code": 4008, "reason": None})
        assert it.wire.written[-1][2:4] == (4008).to_bytes(2)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(frame(b"\xff"), id="in one"),
        pytest.param(frame(b"\xc3", fin=False) + frame(b"x", Opcode.CONT), id="in two"),
    ],
)
async def test_text_that_is_not_utf_8_is_refused_and_not_logged(
    wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with line() as it:
        await it.brings(frame(b"1") + wrong)
        assert it.heard == [("short", "1")]
        assert it.wire.written[-1][2:4] == (1007).to_bytes(2)
    assert caplog.records == []


async def test_a_letter_in_two_pieces_is_text() -> None:
    async with line() as it:
        await it.brings(frame(b"\xc3", fin=False) + frame(b"\xa9", Opcode.CONT))
        assert it.heard == [("long", "é")]


async def test_the_short_way_is_taken_on_a_real_socket(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    hand_over, put_now = SocketProtocol._hand_over, Outbox._goes_at_once

    def heard(self: SocketProtocol, data: bytes, listener: Callable[[str], None]) -> bytes:
        taken.append("in")
        rest = hand_over(self, data, listener)
        assert not rest
        return rest

    def written(self: Outbox, frame: Encoded) -> bool:
        at_once = put_now(self, frame)
        taken.append("out" if at_once else "waits")
        return at_once

    async with site.shopper("ann") as ann:
        monkeypatch.setattr(SocketProtocol, "_hand_over", heard)
        monkeypatch.setattr(Outbox, "_goes_at_once", written)
        assert (await ann.ask("ask", text="Hello?"))["type"] == "ok"
        assert taken == ["in", "out"]


async def _unheard(_: Any, receive: Any, __: Any) -> None:
    """An application that does not answer."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


def connections(site: Site) -> set[object]:
    return set(site.server.server_state.connections)


async def test_who_is_gone_is_not_waited_for() -> None:
    """Whoever came and went by the thousand would be kept for seconds, with all they had sent."""
    async with line() as it:
        await it.brings(frame(b"", Opcode.PING) * 2_000)
        assert it.wire.closing
    assert waited_for(it.protocol) == []


def waited_for(protocol: SocketProtocol) -> list[str]:
    """What the loop would still call of a socket."""
    loop: Any = asyncio.get_running_loop()
    calls = [timer._callback for timer in loop._scheduled if not timer.cancelled()]
    ours = (protocol, protocol.transport)
    return [call.__name__ for call in calls if getattr(call, "__self__", None) in ours]


async def test_pings_without_end_are_not_answered_without_end() -> None:
    """A peer that does not read gets none, and whoever sends too many is closed."""
    async with line() as it:
        it.protocol.pause_writing()
        await it.brings(frame(b"x" * 125, Opcode.PING) * 10)
        assert it.wire.written == []
        it.protocol.resume_writing()
        await it.brings(frame(b"y", Opcode.PING))
        assert it.wire.written == [b"\x8a\x01y"]
        await it.brings(frame(b"", Opcode.PING) * 2_000)
        assert it.wire.closing
        assert it.wire.written[-1][2:4] == (4029).to_bytes(2)
        assert sum(len(one) for one in it.wire.written) < 2_000


async def test_a_message_of_empty_pieces_without_end_is_not_read_without_end() -> None:
    async with line() as it:
        await it.brings(frame(b"x", fin=False) + frame(b"", Opcode.CONT, fin=False) * 50_000)
        assert it.wire.closing
        assert it.wire.written[-1][2:4] == (4029).to_bytes(2)
        assert it.protocol.frames == []


async def test_large_frames_in_pieces_are_let_in_while_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.sockets.server.MOST_UNFINISHED", 100_000)
    large = frame(b"x" * 60_000)
    async with line() as it:
        it.protocol._door.unfinished = 30_000
        await it.brings(large[:40_000])
        await it.brings(large[40_000:])
        assert (len(it.heard), it.protocol._door.unfinished) == (1, 30_000)
        it.protocol._door.unfinished = 90_000
        small = frame(b"y" * 9_000)
        await it.brings(small[:-1])
        assert not it.wire.closing
        await it.brings(small[-1:])
        await it.brings(large[:-1])
        assert it.wire.closing
        assert it.wire.written[-1][2:4] == (1013).to_bytes(2)
        assert it.protocol._door.unfinished == 90_000


async def test_what_was_kept_of_a_lost_connection_is_not_counted_any_more() -> None:
    async with line() as it:
        await it.brings(frame(b"x" * 60_000)[:-1])
        door = it.protocol._door
        assert door.unfinished > 50_000
    assert door.unfinished == 0


async def test_whoever_is_not_listened_to_any_more_is_not_read_for_long() -> None:
    async with line() as it:
        heard: list[str] = []

        def listener(text: str) -> None:
            heard.append(text)
            it.protocol.hear(None)

        it.protocol.hear(listener)
        it.protocol.data_received(frame(b"1" * 100) * 5_000)
        assert len(heard) == 1
        assert it.wire.paused
