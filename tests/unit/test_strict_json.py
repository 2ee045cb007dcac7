"""JSON of a client: read where two readers must understand the same, without card numbers."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from gateway.errors import Invalid
from gateway.strict_json import (
    HoldsNul,
    NotJson,
    NotStrict,
    RepeatedKey,
    decode,
    repeats_a_key,
    unescaped,
)


class Body(Struct):
    note: str = ""


BODY = msgspec.json.Decoder(Body)

texts = st.text(st.characters(codec="utf-8"))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=12,
)


@given(texts)
def test_a_string_is_read_however_it_is_written(note: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({"note": note}, ensure_ascii=ascii_only)
        try:
            assert decode(text, BODY).note == note
        except HoldsNul:
            assert "\0" in note
        except Invalid:
            pytest.fail("no text of Hypothesis is a card number")


@given(texts)
def test_what_is_unescaped_holds_what_was_said(said: str) -> None:
    assert unescaped(json.dumps([said])) == f'["{said}"]'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", NotJson),
        ("{", NotJson),
        ("hello", NotJson),
        ("\ufeff{}", NotJson),
        ("\ud800", NotJson),
        ('{"note":"\x00"}', NotJson),
        ('{"note":"\\ud800"}', NotJson),
        ('{"note":"\\q"}', NotJson),
        ('{"other":"\\ud800"}', NotJson),
        ('{"other":"\\udc00\\ud800"}', NotJson),
        ('{"other":"\\q"}', NotJson),
        ('{"other":' + "[" * 100_000 + "]" * 100_000 + "}", NotJson),
        ('{"a":' * 100_000, NotJson),
        ('{"note":"\\u0000"}', HoldsNul),
        ('{"other":["a\\u0000"]}', HoldsNul),
        ('{"note":"a\\\\\\u0000"}', HoldsNul),
        ('{"a\\u0000":1}', HoldsNul),
        ('{"note":"a","note":"b"}', RepeatedKey),
        ('{"note":"a","n\\u006fte":"b"}', RepeatedKey),
        ('{"x":[{"a":1,"b":2,"\\u0061":3}]}', RepeatedKey),
    ],
)
def test_what_is_not_strict_is_refused(text: str, error: type[NotStrict]) -> None:
    with pytest.raises(error):
        decode(text, BODY)


@pytest.mark.parametrize(
    "text",
    [
        '{"note":"a \\\\u0000 b"}',
        '{"note":"a: \\"b\\": c", "x": "b"}',
        '{"x":[{"a":1},{"a":1}]}',
        '{"x":"\\ud83d\\ude00 \\\\ud800"}',
        '{"x":' + "9" * 5_000 + "}",
        '{"x":' + "[" * 300 + "]" * 300 + "}",
    ],
)
def test_what_only_looks_odd_is_read(text: str) -> None:
    assert isinstance(decode(text, BODY), Body)


def test_what_is_not_of_the_type_is_said_by_the_decoder() -> None:
    with pytest.raises(msgspec.ValidationError, match="note"):
        decode('{"note":5}', BODY)


@pytest.mark.parametrize(
    "text",
    [
        '{"note":"4242 4242 4242 4242"}',
        '{"note":"\\u0034\\u0032424242424242 42"}',
        '{"note":"\\uff14242424242424242"}',
        '{"note":"\\ud835\\udfd2242424242424242"}',
        '{"note":"4242\\n4242\\t4242\\u200b4242"}',
        '{"note":4242424242424242}',
        '{"x":[-4242424242424242.0]}',
        '{"x":{"4242424242424242":1,"4242424242424242":1}}',
        '{"note":5,"x":"4242424242424242"}',
        '{"note":"4242424242424242',
    ],
)
def test_a_card_number_comes_before_everything_else(text: str) -> None:
    with pytest.raises(Invalid, match="Card numbers") as refused:
        decode(text, BODY)
    assert "42" not in refused.value.message


@given(anything)
def test_repeats_are_found_wherever_they_are(value: Any) -> None:
    text = json.dumps(value)
    assert not repeats_a_key(text)
    assert repeats_a_key(f'{{"a": {text}, "a": {text}}}')
    assert repeats_a_key(f'[{{"a": 1, "\\u0061": {text}}}]')


@pytest.mark.parametrize("text", ['{"id": 1, "text": "a: \\"b\\": c"}', '{"a": "b:", "b": "a"}'])
def test_a_colon_in_a_value_is_no_key(text: str) -> None:
    assert not repeats_a_key(text)
