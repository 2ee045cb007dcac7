"""The short way reads and writes text frames as the library does, and leaves it what is unusual."""

import pytest
from websockets.frames import Frame, Opcode

from gateway.settings import Settings
from gateway.sockets import direct
from gateway.sockets.direct import small_text, text_frame

SIZES = [0, 1, 125, 126, 1_023, 1_024]


def sent(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(opcode, data, fin).serialize(mask=True)


@pytest.mark.parametrize("size", [*SIZES, 65_535, 65_536])
def test_a_text_is_framed_as_the_library_frames_it(size: int) -> None:
    assert text_frame(b"x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


@pytest.mark.parametrize("size", SIZES)
def test_a_small_text_is_read_and_where_it_ends_is_told(size: int) -> None:
    frame = sent(b"y" * size)
    assert small_text(frame, 0) == ("y" * size, len(frame))
    assert small_text(b"before" + frame + b"after", 6) == ("y" * size, 6 + len(frame))


def test_a_text_in_any_script_is_read() -> None:
    frame = sent("Größe 汉字 🛒".encode())
    assert small_text(frame, 0) == ("Größe 汉字 🛒", len(frame))


@pytest.mark.parametrize("size", [3, 200])
def test_a_frame_that_is_not_there_whole_is_left(size: int) -> None:
    frame = sent(b"z" * size)
    assert all(small_text(frame[:end], 0) is None for end in range(len(frame)))


@pytest.mark.parametrize(
    "frame",
    [
        sent(b"{}", Opcode.BINARY),
        sent(b"{}", Opcode.PING),
        sent(b"{}", Opcode.PONG),
        sent(b"\x03\xe8", Opcode.CLOSE),
        sent(b"{", fin=False),
        sent(b"}", Opcode.CONT),
        sent(b"x" * 1_025),
        sent(b"x" * 70_000),
        sent(b"\xff"),
        Frame(Opcode.TEXT, b"unmasked").serialize(mask=False),
        b"\xc1" + sent(b"{}")[1:],
        b"\x81\xfe\x00\x02" + sent(b"{}")[2:],
    ],
    ids=[
        *("binary", "ping", "pong", "close", "beginning", "end", "large", "very large"),
        *("not UTF-8", "unmasked", "compressed", "size in more bytes than needed"),
    ],
)
def test_anything_unusual_is_left_to_the_library(frame: bytes) -> None:
    assert small_text(frame, 0) is None


def test_the_librarys_limit_of_size_cannot_be_passed_by() -> None:
    (least,) = (
        meta.ge
        for meta in Settings.__annotations__["max_frame_bytes"].__metadata__
        if meta.ge is not None
    )
    assert least >= direct._SMALL
