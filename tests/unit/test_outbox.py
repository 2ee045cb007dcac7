"""What waits to be written to one socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.sockets.direct import Encoded, encoded, text_frame
from gateway.sockets.outbox import NOBODY, Outbox
from gateway.sockets.tally import Tally


class Peer:
    """Reads when it wants to."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def take(self, frame: str) -> None:
        await self.reads.wait()
        self.read.append(frame)


@contextlib.asynccontextmanager
async def written(outbox: Outbox, peer: Peer) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run(peer.take))
    try:
        yield
        peer.reads.set()
        async with asyncio.timeout(30):
            await outbox.drained()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Overflow(Exception):
    """The peer is too slow."""


def overflow() -> None:
    raise Overflow


def outbox(most_frames: int = 10, *, welcomed: bool = True, wire: "Wire | None" = None) -> Outbox:
    box = Outbox(lambda: stock(NEWEST, b"snapshot"), most_frames, overflow, Tally())
    if wire:
        box.free(wire.write)
    if welcomed:
        box.welcome(b"welcome", 0)
    return box


NEWEST = 5_000
"""The version that a snapshot has."""


def stock(version: int, text: bytes = b"stock") -> Encoded:
    return encoded(text, "stock", version)


def push(text: bytes) -> Encoded:
    return encoded(text, "push")


async def test_frames_are_written_in_order() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        for frame in (b"1", b"2"):
            box.put(frame)
            box.push(push(frame + b"!"))
    assert peer.read == ["welcome", "1", "1!", "2", "2!"]


async def test_it_goes_on_after_a_pause() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        await box.drained()
        box.put(b"1")
        await box.drained()
        box.tell_later(stock(1))
    assert peer.read == ["welcome", "1", "stock"]


async def test_one_stock_frame_waits_as_it_is() -> None:
    box, peer = outbox(), Peer()
    box.tell_later(stock(1))
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "stock"]


async def test_the_same_stock_told_again_is_no_reason_for_all_of_it() -> None:
    box, peer, told = outbox(), Peer(), stock(1)
    for _ in range(2):
        box.tell_later(told)
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "stock"]


async def test_a_peer_that_fell_behind_gets_the_stock_as_it_is_when_it_reads_again() -> None:
    box, peer = outbox(), Peer()
    for number in range(1_000):
        box.tell_later(stock(number + 1))
    box.put(b"a reply")
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "a reply", "snapshot"]


async def test_after_a_snapshot_stock_is_told_frame_by_frame_again() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        for number in range(3):
            box.tell_later(stock(number + 1))
        await box.drained()
        box.tell_later(stock(NEWEST + 1, b"new"))
    assert peer.read == ["welcome", "snapshot", "new"]


async def test_a_peer_that_stalls_in_the_middle_of_a_write_falls_behind_once() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        await box.drained()
        peer.reads.clear()
        box.tell_later(stock(1, b"1"))
        await asyncio.sleep(0)  # the writer takes it, and stalls
        for number in (2, 3, 4):
            box.tell_later(stock(number))
    assert peer.read == ["welcome", "1", "snapshot"]


async def test_a_full_outbox_says_so_and_keeps_what_it_has() -> None:
    box, peer = outbox(most_frames=3), Peer()
    box.put(b"0")
    box.put(b"1")
    for _ in range(2):
        with pytest.raises(Overflow):
            box.put(b"too much")
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "0", "1"]


async def test_pushes_wait_for_the_welcome_and_replies_do_not() -> None:
    box, peer = outbox(welcomed=False), Peer()
    async with written(box, peer):
        box.push(push(b"early"))
        box.put(b"refused")
        await box.drained()
        assert peer.read == ["refused"]
        box.welcome(b"welcome", 0)
        box.push(push(b"late"))
        box.tell_later(stock(1))
    assert peer.read == ["refused", "welcome", "early", "late", "stock"]


async def test_what_waits_for_the_welcome_is_bounded() -> None:
    box = outbox(most_frames=2, welcomed=False)
    box.push(push(b"1"))
    box.push(push(b"2"))
    with pytest.raises(Overflow):
        box.push(push(b"3"))


async def test_nothing_waiting_is_drained_at_once() -> None:
    async with asyncio.timeout(30):
        await outbox(welcomed=False).drained()


async def test_a_peer_that_is_gone_ends_the_writing() -> None:
    box = outbox()

    async def gone(_: str) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await box.run(gone)


class Wire:
    """The short way to a peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def write(self, frame: bytes) -> None:
        text = frame[2:]
        assert frame == text_frame(text)
        self.peer.read.append(text.decode())


async def test_with_room_on_the_socket_nothing_waits_for_the_writer() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(welcomed=False, wire=wire)
    box.push(push(b"early"))
    box.welcome(b"welcome", 0)
    box.put(b"a reply")
    assert box.at_once
    box.at_once(stock(1).frame)
    assert peer.read == ["welcome", "early", "a reply", "stock"]
    await box.drained()


async def test_no_frame_overtakes_one_that_waits() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(wire=wire)
    box.full()
    box.put(b"1")
    box.free(wire.write)
    box.put(b"2")
    assert box.at_once is None
    box.tell_later(stock(1))
    async with written(box, peer):
        await box.drained()
        box.put(b"3")
    assert peer.read == ["welcome", "1", "2", "stock", "3"]


async def test_no_frame_overtakes_one_that_is_being_written() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(wire=wire)
    box.full()
    peer.reads.clear()
    async with written(box, peer):
        box.put(b"1")
        await asyncio.sleep(0)  # the writer takes it, and stalls
        box.free(wire.write)
        box.put(b"2")
        assert peer.read == ["welcome"]
    assert peer.read == ["welcome", "1", "2"]


async def test_a_slow_peer_has_a_bounded_outbox_by_the_short_way_too() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(most_frames=2, wire=wire)
    box.full()
    box.put(b"1")
    box.put(b"2")
    with pytest.raises(Overflow):
        box.put(b"3")
    for number in range(1_000):
        box.tell_later(stock(number + 1))
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "1", "2", "snapshot"]


async def test_what_nobody_will_read_is_not_kept() -> None:
    box = outbox(most_frames=1, wire=Wire(Peer()))
    box.gone()
    for _ in range(100):
        box.put(b"a reply")
        box.tell_later(stock(1))
    async with asyncio.timeout(30):
        await box.drained()


async def test_what_was_written_is_counted_and_every_version_once() -> None:
    peer = Peer()
    box = outbox(wire=Wire(peer))
    box.put(b"a reply")
    box.push(push(b"a push"))
    assert box.at_once
    box.at_once(stock(3).frame)  # As the fan-out does, which counts for many together.
    box.told = 3
    box.tally.stock_told(1, 2)
    box.full()
    box.tell_later(stock(4))
    async with written(box, peer):
        await box.drained()
        box.tell_later(stock(5))
        box.tell_later(stock(6))
    box.leave(NEWEST + 7)
    box.leave(NEWEST + 8)
    assert peer.read[-3:] == ["stock", "stock", "snapshot"]
    assert box.tally.written == {"reply": 2, "push": 1, "stock": 3}
    assert box.tally.values == {"delivered": 3, "conflated": NEWEST - 3, "dropped": 7}
    assert box.told == NOBODY


async def test_who_has_left_is_not_told_the_stock_that_waits_either() -> None:
    one, several, peer = outbox(), outbox(), Peer()
    one.tell_later(stock(1))
    for number in range(3):
        several.tell_later(stock(number + 1))
    for box in (one, several):
        box.leave(3)
        async with written(box, peer):
            pass
    assert peer.read == ["welcome", "welcome"]


async def test_a_peer_that_takes_nothing_for_the_grace_is_too_slow() -> None:
    box, peer = outbox(), Peer()
    peer.reads.clear()
    async with written(box, peer):
        await asyncio.sleep(0)
        for now_s in (0.0, 5.0, 9.9):
            box.ticked(now_s, grace_s=10.0)
        with pytest.raises(Overflow):
            box.ticked(10.0, grace_s=10.0)


async def test_a_peer_that_takes_something_now_and_then_is_not() -> None:
    box, peer = outbox(most_frames=100), Peer()
    async with written(box, peer):
        await box.drained()
        box.ticked(1_000.0, grace_s=10.0)
        for now_s in range(0, 200, 6):
            peer.reads.clear()
            box.put(b"1")
            box.put(b"2")
            await asyncio.sleep(0)
            box.ticked(float(now_s), grace_s=10.0)
            box.ticked(now_s + 5.0, grace_s=10.0)
            peer.reads.set()
            await box.drained()


async def test_nobody_is_slow_for_whom_nothing_waits() -> None:
    box = outbox(wire=Wire(Peer()))
    for now_s in range(0, 100, 10):
        box.ticked(float(now_s), grace_s=10.0)


async def test_the_short_way_may_come_and_go() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(wire=wire)
    async with written(box, peer):
        box.full()
        box.put(b"1")
        await box.drained()
        box.put(b"2")
        box.free(wire.write)
        box.put(b"3")
        await box.drained()
        box.put(b"4")
        assert peer.read == ["welcome", "1", "2", "3", "4"]
