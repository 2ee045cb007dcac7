"""A shopper's socket: what is heard wakes whoever waits, and nobody waits for what is gone."""

import json
import threading
import time
from typing import Any, cast

import pytest

from gateway.clock import rfc3339
from loadtest.drop.collect import Recorder
from loadtest.drop.frames import CLOSE, LOST, PING, TEXT, Reading
from loadtest.drop.live_socket import Away, LiveSocket

TEE = frozenset({"tee"})


class Wire:
    """Keeps what is written; nobody is at the other end."""

    sock = None

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def pong(self, payload: bytes) -> None:
        self.sent.append(payload)

    def send_close(self) -> None:
        self.sent.append("close")

    def shutdown(self) -> None:
        self.sent.append("shutdown")


def framed(opcode: int, said: object) -> bytes:
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    size = len(payload)
    head = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + head + payload


def stock(version: int, at: str = "", **items: int) -> bytes:
    said = {"type": "stock", "epoch": 1, "version": version, "items": items}
    return framed(TEXT, said | ({"at": at} if at else {}))


def live(**items: int) -> LiveSocket:
    recorder = Recorder()
    recorder.begin()
    made = LiveSocket(cast("Any", Wire()), recorder, Reading(), TEE)
    said = {"type": "welcome", "id": 99, "stock": {"epoch": 1, "version": 1, "items": items}}
    made.feed(framed(TEXT, said))
    return made


def wire(of: LiveSocket) -> Wire:
    return cast("Wire", of.socket)


def test_stock_wakes_whoever_waits_and_sold_out_has_them_wait_again() -> None:
    it = live(tee=0)
    assert not it.stocked.is_set()
    it.feed(stock(2, tee=3))
    assert it.stocked.is_set()
    it.feed(stock(3, tee=0))
    assert not it.stocked.is_set()
    it.feed(stock(4, cap=3))
    assert not it.stocked.is_set()


def test_an_answer_that_says_sold_out_has_them_wait_before_the_push_does() -> None:
    it = live(tee=1)
    assert it.stocked.is_set()
    it.learns("tee", 0)
    assert not it.stocked.is_set()


def test_a_frame_in_pieces_is_put_together() -> None:
    it = live(tee=0)
    data = stock(2, tee=3) + stock(3, tee=2)
    for at in range(len(data)):
        it.feed(data[at : at + 1])
    assert it.shelf.items == {"tee": 2}


def test_pushes_are_as_old_as_redis_says() -> None:
    it = live(tee=3)
    decided_at = rfc3339(int(time.time() * 1000) - 5_000)
    it.feed(stock(2, decided_at, tee=2))
    it.feed(stock(3, decided_at, tee=0))
    it.feed(stock(4, tee=1))
    steps = it.recorder.take()["steps"]
    assert set(steps) == {"push stock", "push sold_out"}
    for (oldest_ms, _, counts), _ in steps.values():
        assert sum(counts) == 1
        assert 5_000 <= oldest_ms < 60_000


def test_a_reply_is_whose_id_it_has() -> None:
    it = live()
    replies: list[object] = []
    asking = threading.Thread(target=lambda: replies.append(it.ask({"type": "ask"}, 5)))
    asking.start()
    until = time.monotonic() + 5
    while not wire(it).sent:
        assert time.monotonic() < until
        time.sleep(0.001)
    number = wire(it).sent[0]["id"]
    it.feed(framed(TEXT, {"type": "ok", "id": number + 1}))
    it.feed(framed(TEXT, {"type": "ok", "id": number}))
    asking.join(5)
    assert replies == [{"type": "ok", "id": number}]


def test_no_answer_in_time_is_a_timeout() -> None:
    with pytest.raises(Away) as away:
        live().ask({"type": "ask"}, 0.01)
    assert (away.value.why, away.value.final) == ("timeout", False)


def test_a_close_wakes_everybody_and_is_counted_and_some_are_final() -> None:
    it = live(tee=0)
    assert not it.feed(framed(CLOSE, (4_510).to_bytes(2, "big")))
    it.ended()
    assert it.stocked.is_set()
    assert wire(it).sent == ["close", "shutdown"]
    assert it.recorder.take()["closes"] == [(4_510, 1)]
    with pytest.raises(Away) as away:
        it.ask({"type": "ask"}, 5)
    assert (away.value.why, away.value.final) == ("disconnected", True)


def test_a_connection_that_just_ends_is_lost_and_leaving_oneself_is_not() -> None:
    it, leaver = live(), live()
    assert not it.feed(b"")
    it.ended()
    assert it.recorder.take()["closes"] == [(LOST, 1)]
    leaver.close()
    leaver.ended()
    assert leaver.recorder.take()["closes"] == []


def test_pings_are_answered() -> None:
    it = live()
    it.feed(framed(PING, b"are you there"))
    assert wire(it).sent == [b"are you there"]


def test_a_payment_is_heard_by_its_hold() -> None:
    it = live()
    it.feed(framed(TEXT, {"type": "checkout", "hold": "h1", "state": "confirmed"}))
    heard = it.hear_checkout("h1", 1)
    assert heard is not None
    assert heard["state"] == "confirmed"
    assert it.hear_checkout("h1", 0.01) is None
