"""What a gateway writes is read frame by frame, and how old it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.drop.frames import CLOSE, PING, TEXT, Reading, Shelf, close_code, frames, moment_ms


def framed(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def stock(version: int, at: str = "", epoch: int = 1, **items: int) -> bytes:
    said = {"type": "stock", "epoch": epoch, "version": version, "items": items}
    return json.dumps(said | ({"at": at} if at else {})).encode()


sent = st.lists(st.tuples(st.sampled_from([TEXT, PING, CLOSE]), st.binary(max_size=300)))


@given(sent, st.integers(1, 50))
def test_frames_are_found_wherever_the_bytes_are_cut(
    sent: list[tuple[int, bytes]], cut: int
) -> None:
    data = b"".join(framed(*one) for one in sent)
    found, rest = [], b""
    for at in range(0, len(data), cut):
        more, rest = frames(rest + data[at : at + cut])
        found += more
    assert (found, rest) == (sent, b"")


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_every_way_to_write_a_size_is_read(size: int) -> None:
    assert frames(framed(TEXT, b"x" * size)) == ([(TEXT, b"x" * size)], b"")


def test_a_close_frame_says_why() -> None:
    assert close_code((4_001).to_bytes(2, "big") + b"expired") == 4_001
    assert close_code(b"") == 1_005


def test_the_same_text_is_read_once_and_a_reply_is_nobody_elses() -> None:
    reading = Reading()
    push, reply = stock(3, tee=1), b'{"type":"ok","id":1}'
    assert reading.read(push) is reading.read(push)
    assert reading.read(reply) is not reading.read(reply)


def test_texts_and_times_are_forgotten_in_the_end() -> None:
    reading = Reading()
    for version in range(1, 20_000):
        reading.read(stock(version, "2026-11-22T09:00:00.000Z", tee=version))
    assert len(reading._known) <= 64
    assert len(reading._versions) == len(reading._times) <= 4_096


def test_news_is_as_old_as_the_first_change_the_viewer_did_not_know() -> None:
    reading = Reading()
    times = ("2026-11-22T09:00:00.000Z", "2026-11-22T09:00:01.000Z", "2026-11-22T09:00:02.500Z")
    for version, at in zip((5, 8, 9), times, strict=True):
        reading.read(stock(version, at, tee=1))
    first, second, third = map(moment_ms, times)
    assert [reading.decided_after(1, known) for known in (2, 5, 7, 8, 9)] == [
        first, second, second, third, None,
    ]  # fmt: skip
    assert reading.decided_after(2, 5) is None
    assert third - first == 2_500


def test_a_new_epoch_begins_anew() -> None:
    reading = Reading()
    reading.read(stock(500, "2026-11-22T09:00:00.000Z", tee=1))
    reading.read(stock(2, "2026-11-22T09:00:09.000Z", epoch=2, tee=1))
    assert reading.decided_after(2, 1) == moment_ms("2026-11-22T09:00:09.000Z")


def welcomed(**items: int) -> Shelf:
    shelf = Shelf()
    said = {"stock": {"epoch": 1, "version": 4, "items": items}, "catalog_tag": "abc"}
    shelf.welcome(said, resumed=False)
    return shelf


def test_a_shelf_takes_what_is_newer_and_says_what_has_just_sold_out() -> None:
    shelf = welcomed(tee=1, cap=0)
    old = json.loads(stock(4, tee=9))
    assert shelf.take(old) is None
    assert shelf.take(json.loads(stock(9, epoch=2, tee=9))) is None
    assert shelf.take(json.loads(stock(5, cap=0))) is False
    assert shelf.take(json.loads(stock(6, tee=0))) is True
    assert shelf.take(json.loads(stock(7, tee=2))) is False
    assert shelf.items == {"tee": 2, "cap": 0}
    assert shelf.has(frozenset({"tee"}))
    assert not shelf.has(frozenset({"cap", "mug"}))


def test_whoever_comes_back_keeps_what_the_gateway_did_not_repeat() -> None:
    shelf = welcomed(tee=3)
    assert shelf.resume() == {"epoch": 1, "version": 4, "catalog_tag": "abc"}
    shelf.welcome({"stock": {"epoch": 1, "version": 4, "items": {}}}, resumed=True)
    assert shelf.items == {"tee": 3}
    shelf.welcome({"stock": {"epoch": 1, "version": 6, "items": {"tee": 1}}}, resumed=True)
    assert (shelf.version, shelf.items) == (6, {"tee": 1})
