"""What waits to be written to one socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.sockets.direct import Direct, Wrote
from gateway.sockets.outbox import Outbox


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
        async with asyncio.timeout(1):
            await outbox.drained()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Overflow(Exception):
    """The peer is too slow."""


def overflow() -> None:
    raise Overflow


def outbox(most_frames: int = 10, *, welcomed: bool = True, direct: Direct | None = None) -> Outbox:
    box = Outbox(lambda: b"snapshot", most_frames, overflow, direct)
    if welcomed:
        box.welcome(b"welcome")
    return box


async def test_frames_are_written_in_order() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        for frame in (b"1", b"2"):
            box.put(frame)
            box.push(frame + b"!")
    assert peer.read == ["welcome", "1", "1!", "2", "2!"]


async def test_it_goes_on_after_a_pause() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        await box.drained()
        box.put(b"1")
        await box.drained()
        box.push_stock(b"stock")
    assert peer.read == ["welcome", "1", "stock"]


async def test_one_stock_frame_waits_as_it_is() -> None:
    box, peer = outbox(), Peer()
    box.push_stock(b"stock")
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "stock"]


async def test_a_peer_that_fell_behind_gets_the_stock_as_it_is_when_it_reads_again() -> None:
    box, peer = outbox(), Peer()
    for number in range(1_000):
        box.push_stock(b"stock %d" % number)
    box.put(b"a reply")
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "a reply", "snapshot"]


async def test_after_a_snapshot_stock_is_told_frame_by_frame_again() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        for number in range(3):
            box.push_stock(b"%d" % number)
        await box.drained()
        box.push_stock(b"new")
    assert peer.read == ["welcome", "snapshot", "new"]


async def test_a_peer_that_stalls_in_the_middle_of_a_write_falls_behind_once() -> None:
    box, peer = outbox(), Peer()
    async with written(box, peer):
        await box.drained()
        peer.reads.clear()
        box.push_stock(b"1")
        await asyncio.sleep(0)  # the writer takes it, and stalls
        for number in (b"2", b"3", b"4"):
            box.push_stock(number)
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
        box.push(b"early")
        box.push_stock(b"in the welcome")
        box.put(b"refused")
        await box.drained()
        assert peer.read == ["refused"]
        box.welcome(b"welcome")
        box.push(b"late")
        box.push_stock(b"stock")
    assert peer.read == ["refused", "welcome", "early", "late", "stock"]


async def test_what_waits_for_the_welcome_is_bounded() -> None:
    box = outbox(most_frames=2, welcomed=False)
    box.push(b"1")
    box.push(b"2")
    with pytest.raises(Overflow):
        box.push(b"3")


async def test_nothing_waiting_is_drained_at_once() -> None:
    async with asyncio.timeout(1):
        await outbox(welcomed=False).drained()


async def test_a_peer_that_is_gone_ends_the_writing() -> None:
    box = outbox()

    async def gone(_: str) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await box.run(gone)


class Wire:
    """The short way to a peer; what it answers is up to the test."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.answers = Wrote.YES
        self.limits: set[int] = set()

    def try_write(self, text: bytes, limit: int) -> Wrote:
        self.limits.add(limit)
        if self.answers is Wrote.YES:
            self.peer.read.append(text.decode())
        return self.answers

    def hear(self, listener: Callable[[str], None] | None) -> None:
        raise AssertionError(listener)


async def test_with_room_on_the_socket_nothing_waits_for_the_writer() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(welcomed=False, direct=wire)
    box.push(b"early")
    box.welcome(b"welcome")
    box.put(b"a reply")
    box.push_stock(b"stock")
    assert peer.read == ["welcome", "early", "a reply", "stock"]
    assert wire.limits == {16_384}
    await box.drained()


async def test_no_frame_overtakes_one_that_waits() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(direct=wire)
    wire.answers = Wrote.SLOW
    box.put(b"1")
    wire.answers = Wrote.YES
    box.put(b"2")
    box.push_stock(b"stock")
    async with written(box, peer):
        await box.drained()
        box.put(b"3")
    assert peer.read == ["welcome", "1", "2", "stock", "3"]


async def test_no_frame_overtakes_one_that_is_being_written() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(direct=wire)
    wire.answers = Wrote.SLOW
    peer.reads.clear()
    async with written(box, peer):
        box.put(b"1")
        await asyncio.sleep(0)  # the writer takes it, and stalls
        wire.answers = Wrote.YES
        box.put(b"2")
        assert peer.read == ["welcome"]
    assert peer.read == ["welcome", "1", "2"]


async def test_a_slow_peer_has_a_bounded_outbox_by_the_short_way_too() -> None:
    peer = Peer()
    wire = Wire(peer)
    box = outbox(most_frames=2, direct=wire)
    wire.answers = Wrote.SLOW
    box.put(b"1")
    box.put(b"2")
    with pytest.raises(Overflow):
        box.put(b"3")
    for number in range(1_000):
        box.push_stock(b"%d" % number)
    async with written(box, peer):
        pass
    assert peer.read == ["welcome", "1", "2", "snapshot"]


async def test_what_nobody_will_read_is_not_kept() -> None:
    wire = Wire(Peer())
    wire.answers = Wrote.CLOSED
    box = outbox(most_frames=1, direct=wire)
    for _ in range(100):
        box.put(b"a reply")
        box.push_stock(b"stock")
    async with asyncio.timeout(1):
        await box.drained()
