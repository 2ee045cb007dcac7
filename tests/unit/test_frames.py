"""JSON text into commands: every command comes back as it was, anything else is one clear error."""

import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cards import holds_card_number
from gateway.errors import (
    BadFrame,
    HoldfastError,
    Invalid,
    LimitExceeded,
    PaymentDeclined,
    RateLimited,
    SoldOut,
    TotalChanged,
    UnknownType,
)
from gateway.messages import (
    AnyCommand,
    Ask,
    Checkout,
    Connect,
    Extend,
    Payment,
    Refresh,
    Release,
    Reserve,
    Resume,
    encode,
)
from gateway.model import Address, Contact, Fulfillment, LineRequest, Money
from gateway.sockets.frames import decode, error_frame, id_of

_WORD = string.ascii_letters + string.digits + "_-"
ids = st.text(_WORD, min_size=1, max_size=64)
numbers = st.integers(0, 2**53 - 1).filter(lambda number: not holds_card_number(str(number)))
counts = st.integers(0, 10**12 - 1)
tokens = st.text(_WORD + ".", min_size=1, max_size=200)
lines_of_text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=80
)
provider_ids = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=250)
names = st.none() | lines_of_text

commands: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(
        Connect,
        id=numbers,
        token=tokens,
        show=ids,
        resume=st.none()
        | st.builds(Resume, epoch=counts, version=counts, catalog_tag=st.none() | ids),
    ),
    st.builds(
        Reserve,
        id=numbers,
        key=ids,
        lines=st.lists(
            st.builds(LineRequest, sku=ids, quantity=st.integers(1, 10**6)), min_size=1, max_size=20
        ).map(tuple),
        fulfillment=st.builds(
            Fulfillment, type=st.sampled_from(["ship", "pickup"]), location=st.none() | ids
        ),
    ),
    st.builds(Extend, id=numbers, hold=ids),
    st.builds(Release, id=numbers, hold=ids),
    st.builds(
        Checkout,
        id=numbers,
        hold=ids,
        expected_total=st.builds(
            Money, amount=st.integers(0, 10**11), currency=st.sampled_from(["EUR", "JPY"])
        ),
        payment=st.one_of(
            st.builds(Payment, payment_method=provider_ids.map("pm_{}".format)),
            st.builds(Payment, confirmation_token=provider_ids.map("ctoken_{}".format)),
        ),
        contact=st.builds(
            Contact, email=st.just("a@example.com"), name=names, phone=st.none() | st.just("+49 1")
        ),
        ship_to=st.none()
        | st.builds(Address, line1=lines_of_text, country=st.just("DE"), name=names, city=names),
    ),
    st.builds(Ask, id=numbers, text=lines_of_text),
    st.builds(Refresh, id=numbers, token=tokens),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


NOT_AN_OBJECT = {
    "nothing": "",
    "a space": " ",
    "words": "hello",
    "unfinished": "{",
    "an array": "[]",
    "a number": "5",
    "null": "null",
    "a string": '"connect"',
    "a byte order mark": "\ufeff{}",
    "more behind it": '{"type":"ask","id":1,"text":"a"} {}',
    "NaN": '{"type":"ask","id":1,"text":NaN}',
    "single quotes": "{'type': 'ask'}",
    "a raw newline": '{"type":"ask","id":1,"text":"a\nb"}',
    "half a surrogate pair": "\ud800",
    "half a surrogate pair, escaped": '{"type":"ask","id":1,"text":"\\ud800"}',
    "arrays in arrays": "[" * 100_000,
    "objects in objects": '{"a":' * 100_000,
    "deep in a field": '{"type":"ask","id":1,"z":' + "[" * 100_000 + "]" * 100_000 + "}",
}
NO_QUANTITY = [
    *("-1", "0", "-0", "1.0", "1e0", "true", "null", '"nan"', '"0x5"', '"1"', "1e400", "1000001"),
    *(str(2**63), "9" * 25, "[1]", "{}"),
    pytest.param("9" * 5_000, id="5,000 digits"),
]


def refusal(text: str) -> HoldfastError | None:
    """The error a text is refused with; any other exception is a failure."""
    try:
        decode(text)
    except HoldfastError as error:
        return error
    return None


def reserve(**fields: Any) -> str:
    whole = {"type": "reserve", "id": 7, "key": "k", "lines": [{"sku": "tee", "quantity": 1}]}
    return json.dumps(whole | fields)


def quantity(literal: str) -> str:
    return reserve(lines=[{"sku": "tee", "quantity": "?"}]).replace('"?"', literal)


@given(commands)
def test_every_command_comes_back_as_it_was(command: AnyCommand) -> None:
    text = msgspec.json.encode(command).decode()
    assert decode(text) == command
    assert id_of(text) == command.id


@given(commands)
def test_escapes_and_spaces_change_nothing(command: AnyCommand) -> None:
    members = json.loads(msgspec.json.encode(command))
    assert decode(json.dumps(members, indent=1, ensure_ascii=True)) == command


@given(st.text() | anything.map(json.dumps))
def test_no_text_is_worse_than_an_error(text: str) -> None:
    error = refusal(text)
    if error:
        assert error.code in {"bad_frame", "unknown_type", "invalid"}
        assert 0 < len(error.message) < 500
    assert id_of(text) is None or isinstance(id_of(text), int)


@given(st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_text_that_is_no_text_is_a_bad_frame(text: str) -> None:
    assert refusal(text)
    id_of(text)


@given(commands, st.data())
def test_a_command_with_a_field_of_another_type_is_an_error(
    command: AnyCommand, data: st.DataObject
) -> None:
    members = json.loads(msgspec.json.encode(command))
    members[data.draw(st.sampled_from(sorted(members)))] = data.draw(anything)
    error = refusal(json.dumps(members))
    assert error is None or len(error.message) < 500


@pytest.mark.parametrize("text", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT)
def test_what_is_not_one_json_object_is_a_bad_frame(text: str) -> None:
    with pytest.raises(BadFrame):
        decode(text)


@pytest.mark.parametrize("kind", ['"nonsense"', '""', "5", "null", "[]", '"Connect"'])
def test_a_type_that_names_no_command(kind: str) -> None:
    text = f'{{"id": 7, "type": {kind}}}'
    with pytest.raises(UnknownType):
        decode(text)
    assert id_of(text) == 7


def test_a_frame_without_a_type() -> None:
    with pytest.raises(UnknownType):
        decode('{"id": 7}')


@pytest.mark.parametrize("literal", NO_QUANTITY)
def test_a_quantity_is_a_whole_number_within_bounds(literal: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(quantity(literal))
    assert refused.value.message.startswith("lines[0].quantity: ")
    assert id_of(quantity(literal)) == 7


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (reserve(key="a:b"), "key"),
        (reserve(key="a\n"), "key"),
        (reserve(key=""), "key"),
        (reserve(key="k" * 65), "key"),
        (reserve(lines=[]), "lines"),
        (reserve(lines=5), "lines"),
        (reserve(lines=[5]), "lines[0]"),
        (reserve(lines=[{"sku": "{tee}", "quantity": 1}]), "lines[0].sku"),
        (reserve(lines=[{"sku": "tee", "quantity": 1}] * 21), "lines"),
        (reserve(fulfillment=5), "fulfillment"),
        (reserve(fulfillment={"type": "x" * 5_000}), "fulfillment.type"),
        (reserve(id="7"), "id"),
        (reserve(id=7.0), "id"),
        (reserve(id=-1), "id"),
        (reserve(id=2**53), "id"),
    ],
)
def test_a_wrong_field_is_named(text: str, where: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(text)
    assert refused.value.message.startswith(f"{where}: ")
    assert len(refused.value.message) < 200


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Invalid, match="`key`"):
        decode('{"type": "reserve", "id": 1, "lines": [{"sku": "tee", "quantity": 1}]}')
    with pytest.raises(Invalid, match="`id`"):
        decode('{"type": "ask", "text": "hello"}')


def test_fields_of_a_later_version_are_let_be() -> None:
    assert decode('{"type":"ask","id":1,"text":"hi","mood":"\\u0041","n":' + "9" * 5_000 + "}") == (
        Ask(id=1, text="hi")
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ask","id":1,"text":"a","text":"b"}',
        '{"type":"ask","id":1,"text":"a","t\\u0065xt":"b"}',
        '{"type":"ask","id":1,"id":2,"text":"a"}',
        '{"type":"reserve","id":1,"key":"k","lines":[{"sku":"a","sku":"b","quantity":1}]}',
        '{"type":"ask","id":1,"text":"a","z":{"deep":[{"q":1,"q":2}]}}',
    ],
)
def test_a_key_twice_in_one_object_is_a_bad_frame(text: str) -> None:
    with pytest.raises(BadFrame, match="twice"):
        decode(text)


def test_the_same_key_in_two_objects_is_fine() -> None:
    both = [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 1}]
    command = decode(reserve(lines=both))
    assert isinstance(command, Reserve)
    assert [line.sku for line in command.lines] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"id": 5}', 5),
        ('{"id": 9007199254740991}', 9007199254740991),
        ('{"id": 5, "type": 3}', 5),
        ('{"id": -5}', None),
        ('{"id": 9007199254740992}', None),
        ('{"id": "5"}', None),
        ('{"id": 5', None),
        ("[5]", None),
        ("5", None),
    ],
)
def test_the_id_is_found_where_there_is_one(text: str, number: int | None) -> None:
    assert id_of(text) == number


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (SoldOut("Sold out.", sku="tee", available=0), {"sku": "tee", "available": 0}),
        (LimitExceeded("One each.", limit=1), {"limit": 1}),
        (RateLimited("Slow down.", retry_after_ms=40), {"retry_after_ms": 40}),
        (
            TotalChanged("It changed.", total={"amount": 10**15, "currency": "EUR"}),
            {"total": {"amount": 10**15, "currency": "EUR"}},
        ),
        (PaymentDeclined("No.", decline_code="lost_card"), {"decline_code": "lost_card"}),
        (Invalid("No.", secret="not a fact of the wire"), {}),
    ],
)
def test_an_error_says_its_code_and_facts(error: HoldfastError, facts: dict[str, Any]) -> None:
    head = {"type": "error", "code": error.code, "message": error.message}
    assert json.loads(encode(error_frame(error, None))) == head | facts
    assert json.loads(encode(error_frame(error, 0))) == head | facts | {"id": 0}


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ask","id":1,"text":"My card is 4242 4242 4242 4242."}',
        reserve(key="4242424242424242"),
        '{"type":"release","id":1,"hold":"5555-5555-5555-4444"}',
        '{"type":"ask","id":1,"text":"\\u0034242424242424242"}',
        '{"type":"ask","id":1,"text":"4242\\t4242\\n4242\\u00a04242"}',
        '{"type":"ask","id":1,"text":"?","more":{"deep":[4242424242424242]}}',
        '{"type":"ask","id":1,"text":"?","4242424242424242":0}',
        '{"type":"4242424242424242","id":1}',
        '{"type":"reserve","id":1,"key":4242424242424242}',
        "4242424242424242",
    ],
)
def test_a_card_number_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Invalid, match="Card numbers") as refused:
        decode(text)
    assert "42" not in refused.value.message


@pytest.mark.parametrize("kind", ["ask", "nonsense"])
def test_a_card_number_is_no_id_either_and_is_not_repeated(kind: str) -> None:
    text = f'{{"type":"{kind}","id":4242424242424242,"text":"?"}}'
    with pytest.raises(Invalid, match="Card numbers"):
        decode(text)
    assert id_of(text) is None
