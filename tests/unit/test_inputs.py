"""What a request brings, checked."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.types import Message

from gateway.api import inputs, refusals
from gateway.errors import Invalid, Overloaded


class Line(Struct):
    sku: str
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]


class Body(Struct):
    lines: tuple[Line, ...]
    note: str = ""


DECODER = msgspec.json.Decoder(Body)
GOOD = b'{"lines":[{"sku":"tee","quantity":1}],"note":"a \\\\u0000 b"}'


def request(
    chunks: Iterable[bytes] = (b"",),
    headers: dict[str, str] | None = None,
    query: bytes = b"",
    **path: str,
) -> Request:
    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    iterator = messages()
    given = {"content-type": "application/json"} | (headers or {})
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": query,
            "path_params": path,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        },
        receive=lambda: anext(iterator),
    )


async def test_a_good_body_is_read_into_its_type() -> None:
    body = await inputs.read_json(request([GOOD[:9], GOOD[9:]]), DECODER, 1000)
    assert body == Body((Line("tee", 1),), "a \\u0000 b")


async def test_a_large_body_is_read_as_well() -> None:
    large = json.dumps({"lines": [{"sku": "tee", "quantity": 1}] * 5000}).encode()
    body = await inputs.read_json(request([large]), DECODER, 1_000_000)
    assert len(body.lines) == 5000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"hello",
        b'\xef\xbb\xbf{"lines":[]}',
        b'{"lines":[],"note":"\xff"}',
        b'{"lines":[],"note":"\x00"}',
        b'{"lines":[],"note":"\\ud800"}',
        b'{"lines":[{"sku":"tee","quantity":NaN}]}',
        b'{"lines":[],"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_is_said_so(raw: bytes) -> None:
    with pytest.raises(refusals.NotJson):
        inputs.parse_json(raw, DECODER)


@pytest.mark.parametrize(
    "quantity",
    [
        b"-1",
        b"0",
        b"1.0",
        b"1e3",
        b"1e400",
        b"9223372036854775808",
        b"9" * 5000,
        b"true",
        b"null",
        b"[]",
        b'"nan"',
        b'"0x5"',
    ],
)
def test_a_wrong_quantity_is_named_by_its_place(quantity: bytes) -> None:
    raw = b'{"lines":[{"sku":"tee","quantity":' + quantity + b"}]}"
    with pytest.raises(Invalid, match=r"^lines\[0\]\.quantity: ") as refused:
        inputs.parse_json(raw, DECODER)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `lines`"),
        (b'{"lines":[{"sku":"tee"}]}', r"lines\[0\]: .*`quantity`"),
        (b'{"lines":[],"lines":[]}', "A key appears twice"),
        (b'{"lines":[],"x":[{"a":1,"b":2,"\\u0061":3}]}', "A key appears twice"),
        (b'{"lines":[],"x":"4242 4242 4242 4242"}', "Card numbers"),
        (b'{"lines":[],"x":4242424242424242}', "Card numbers"),
        (b'{"lines":[],"note":"a\\u0000"}', "NUL"),
        (b'{"lines":[],"note":"a\\\\\\u0000"}', "NUL"),
    ],
)
def test_what_is_not_of_the_type_or_ambiguous_is_invalid(raw: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        inputs.parse_json(raw, DECODER)
    assert refused.value.status == 422


def test_numbers_of_any_length_may_stand_where_nobody_reads_them() -> None:
    assert inputs.parse_json(b'{"lines":[],"x":' + b"9" * 300 + b"}", DECODER) == Body(())


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_another_media_type_is_refused(media_type: str) -> None:
    with pytest.raises(refusals.WrongMediaType, match="application/json"):
        await inputs.read_json(request([GOOD], {"content-type": media_type}), DECODER, 1000)


async def test_the_media_type_may_name_its_charset() -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert await inputs.read_body(request([GOOD], headers), "application/json", 1000) == GOOD


async def test_a_compressed_body_is_not_unpacked() -> None:
    with pytest.raises(refusals.WrongMediaType, match="Content-Encoding"):
        await inputs.read_json(request([GOOD], {"content-encoding": "gzip"}), DECODER, 1000)


async def test_a_body_is_read_up_to_its_limit_and_not_beyond() -> None:
    assert await inputs.read_body(request([b"x" * 10]), "application/json", 10) == b"x" * 10
    endless = (b"x" for _ in iter(int, 1))
    with pytest.raises(refusals.TooLarge) as refused:
        await inputs.read_body(request(endless), "application/json", 10)
    assert (refused.value.status, refused.value.facts) == (413, {"limit": 10})


async def test_a_body_that_announces_too_much_is_not_read_at_all() -> None:
    unread = request(iter(()), {"content-length": "11"})
    with pytest.raises(refusals.TooLarge):
        await inputs.read_body(unread, "application/json", 10)


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/v1/shows/4242424242424242", b"", {}),
        ("/v1/shows/a?4242424242424242", b"", {}),
        ("/", b"after=4242424242424242-0", {}),
        ("/", b"a=1&4242+4242%2042424242", {}),
        ("/", b"x=%34242424242424242", {}),
        ("/", b"x=%EF%BC%94242424242424242", {}),
        ("/", b"", {"idempotency-key": "5555-5555-5555-4444"}),
    ],
)
def test_card_numbers_beside_the_body_are_refused(
    path: str, query: bytes, headers: dict[str, str]
) -> None:
    asked = request(headers=headers, query=query)
    asked.scope["path"] = path
    with pytest.raises(Invalid, match="Card numbers") as refused:
        inputs.check_address(asked)
    assert not re.search("[0-9]", refused.value.message)


def test_parts_of_an_address_are_not_read_as_one() -> None:
    asked = request(query=b"a=4242&b=4242&c=4242", headers={"idempotency-key": "4242"})
    inputs.check_address(asked)


@pytest.mark.parametrize("value", ["", "a b", "a:b", "{a}", "ä", "a\n", "x" * 65])
def test_a_path_id_is_an_id(value: str) -> None:
    with pytest.raises(Invalid, match=r"^show has"):
        inputs.path_id(request(show=value), "show")
    assert inputs.path_id(request(show="to-night_1"), "show") == "to-night_1"


@pytest.mark.parametrize("value", ["-1", "1.5", "", "1e3", "٣", "9999999999", " 1"])
def test_a_number_of_the_query_is_digits(value: str) -> None:
    asked: Any = request()
    asked.scope["query_string"] = f"limit={value}".encode()
    with pytest.raises(Invalid, match=r"^limit"):
        inputs.query_number(asked, "limit", 7)
    assert inputs.query_number(request(query=b"limit=3"), "limit", 7) == 3
    assert inputs.query_number(request(), "limit", 7) == 7


def test_a_flag_of_the_query_is_true_or_false() -> None:
    assert inputs.query_flag(request(query=b"skip=true"), "skip")
    assert not inputs.query_flag(request(query=b"skip=false"), "skip")
    assert not inputs.query_flag(request(), "skip")
    with pytest.raises(Invalid, match=r"^skip"):
        inputs.query_flag(request(query=b"skip=yes"), "skip")


async def test_large_bodies_share_room_and_small_ones_need_none() -> None:
    small, room = b"x" * inputs.MAX_SMALL_BODY, inputs.Room(2)
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": small + b"xx", "more_body": True}
        began.set()
        await goes_on.wait()
        yield {"type": "http.request", "body": b"", "more_body": False}

    async def read(it: Request) -> bytes:
        return await inputs.read_body(it, "application/json", 100_000, room)

    one = request()
    one._receive = partial(anext, slowly())
    reading = asyncio.create_task(read(one))
    await began.wait()
    assert room.taken == 2
    assert await read(request([small])) == small
    with pytest.raises(Overloaded):
        await read(request([small, b"x"]))
    goes_on.set()
    assert await reading == small + b"xx"
    assert room.taken == 0
    assert len(await read(request([small, b"xx"]))) == len(small) + 2
    with pytest.raises(refusals.TooLarge):
        await read(request([small, b"x" * 100_000]))
    assert room.taken == 0
