"""Bracket notation becomes nested dicts, and nothing else does."""

import pytest

from gateway.sandbox.stripe import forms
from gateway.sandbox.stripe.refusal import RefusedError


def test_reads_flat_nested_and_listed_parameters() -> None:
    form = forms.parse(
        "amount=1200&metadata[order]=7&shipping[address][line1]=1%20High%20St"
        "&payment_method_types[0]=card&expand[]=a&expand[]=b"
    )
    assert form == {
        "amount": "1200",
        "metadata": {"order": "7"},
        "shipping": {"address": {"line1": "1 High St"}},
        "payment_method_types": {"0": "card"},
        "expand": {"0": "a", "1": "b"},
    }


def test_the_last_of_equal_names_wins() -> None:
    assert forms.parse("a=1&a=2") == {"a": "2"}


def test_an_empty_body_is_an_empty_form() -> None:
    assert forms.parse("") == {}


@pytest.mark.parametrize(
    "body",
    [
        "[a]=1",
        "a[b=1",
        "a]b=1",
        "=1",
        "a=1&a[b]=2",
        "a[b]=2&a=1",
        "a" + "[b]" * forms.MAX_DEPTH + "=1",
        "&".join(f"a{n}=1" for n in range(forms.MAX_FIELDS + 1)),
        "a=%ff%fe",
    ],
)
def test_refuses_what_is_not_a_form(body: str) -> None:
    with pytest.raises(RefusedError) as refused:
        forms.parse(body)
    assert refused.value.status == 400
    assert not refused.value.executed
