"""Shows in Redis: what HTTP does not show, the questions."""

import msgspec
import pytest

from gateway.errors import Invalid
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.shows.shows import Shows


async def questions(lane: Lane, shop: str) -> list[list[str]]:
    kept = await lane.command("ZRANGE", ShopKeys(shop).questions("tonight"), 0, -1)
    return [msgspec.json.decode(question) for question in kept]


async def test_a_question_sent_again_is_one_question(lane: Lane, shop: str) -> None:
    shows = Shows(lane)
    await shows.ask(shop, "tonight", "ann", "Does it shrink?", "q1", 1_000)
    await shows.ask(shop, "tonight", "bob", "Does it shrink?", "q1", 1_500)
    await shows.ask(shop, "tonight", "ann", "Does it shrink?", "q1", 2_000)
    await shows.ask(shop, "tonight", "ann", "Does it shrink?", "q2", 500)
    assert await questions(lane, shop) == [
        ["q2", "ann", "Does it shrink?"],
        ["q1", "ann", "Does it shrink?"],
        ["q1", "bob", "Does it shrink?"],
    ]


async def test_only_the_newest_questions_are_kept(lane: Lane, shop: str) -> None:
    shows = Shows(lane)
    for number in range(1_003):
        await shows.ask(shop, "tonight", "ann", "Why?", f"q{number}", number)
    kept = await questions(lane, shop)
    assert (len(kept), kept[0][0], kept[-1][0]) == (1_000, "q3", "q1002")


async def test_a_question_needs_words(lane: Lane, shop: str) -> None:
    with pytest.raises(Invalid):
        await Shows(lane).ask(shop, "tonight", "ann", " \n", "q1", 1)
    assert await questions(lane, shop) == []
