"""News of a shop, as the scripts write it and the gateway reads it."""

import msgspec
import pytest
from msgspec import UNSET

from gateway import news
from gateway.model import Fulfillment, Hold, Line, Money
from gateway.news import News

WORDS = (
    "h_1",
    "active",
    '[{"sku":"tee","quantity":2,"location":"main","unit_price":{"amount":500,"currency":"EUR"}}]',
    "1000",
    "EUR",
    "1795296662742",
    '{"type":"pickup","location":"main"}',
)
HOLD = Hold(
    id="h_1",
    state="active",
    lines=(Line("tee", 2, Money(500, "EUR"), "main"),),
    total=Money(1000, "EUR"),
    expires_at="2026-11-21T21:31:02.742Z",
    fulfillment=Fulfillment("pickup", "main"),
)


def test_a_hold_is_read_from_the_words_of_a_reply_and_of_news_alike() -> None:
    assert news.hold_from_words(WORDS) == HOLD
    assert news.hold_from_words(tuple(word.encode() for word in WORDS)) == HOLD
    assert news.hold_from_words([word.encode() for word in WORDS]) == HOLD


def test_too_few_words_are_no_hold() -> None:
    with pytest.raises(ValueError, match="unpack"):
        news.hold_from_words(WORDS[:-1])


def test_what_a_script_publishes_is_read() -> None:
    message = {
        "epoch": 1,
        "version": 7,
        "stock": {"tee": 3},
        "at": 1795296662742,
        "holds": [["ann", *WORDS]],
    }
    told = news.decode(msgspec.json.encode(message))
    assert (told.epoch, told.version, told.stock) == (1, 7, {"tee": 3})
    ((shopper, *words),) = told.holds
    assert (shopper, news.hold_from_words(tuple(words))) == ("ann", HOLD)


def test_what_is_not_told_is_not_set() -> None:
    told = news.decode(b"{}")
    assert told == News()
    assert (told.highlight, told.show, told.shopper, bytes(told.frame)) == (UNSET, None, None, b"")


def test_unpinning_is_told_and_differs_from_saying_nothing() -> None:
    assert news.decode(b'{"show":"tonight","highlight":""}').highlight == ""
    assert news.decode(b'{"show":"tonight","state":"ended"}').highlight is UNSET


def test_a_frame_is_passed_on_as_it_was_written() -> None:
    frame = b'{"type":"checkout","state":"confirmed"}'
    sent = msgspec.json.encode(News(shopper="ann", frame=msgspec.Raw(frame)))
    told = news.decode(sent)
    assert (told.shopper, bytes(told.frame)) == ("ann", frame)


def test_what_a_later_version_tells_is_passed_over() -> None:
    assert news.decode(b'{"tomorrow":{"more":[1]}}') == News()
    assert news.decode(b'{"version":7,"epoch":1,"tomorrow":1}') == News(epoch=1, version=7)


def test_a_probe_says_nothing_but_who_sent_it() -> None:
    sent = msgspec.json.encode(News(probe="p1"))
    assert sent == b'{"probe":"p1"}'
    assert news.decode(sent) == News(probe="p1")
