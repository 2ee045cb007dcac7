"""One ticket at two gateways at once: one session. The control lacks the check, and lets all in."""

import asyncio
import contextlib
import hashlib
from collections import Counter

import pytest

from gateway.keys import ShopKeys
from gateway.lane import served
from gateway.scripts import Script, load
from gateway.tickets import mark
from tests.race.conftest import Race
from tests.shopper import Shopper, connected
from tests.stall import SHOW

SOCKETS = 10
TURNS = 5
CHECK = "by ~= ARGV[1]"


async def comes_in(shopper: Shopper, token: str) -> str:
    answer = await shopper.ask("connect", token=token, show=SHOW)
    if answer["type"] == "welcome":
        shopper.welcome = answer
        return "welcome"
    assert await shopper.closed() == 4001
    return str(answer["message"])


async def test_one_ticket_at_two_gateways_opens_one_session(race: Race) -> None:
    token = race.tokens.sign_ticket(race.stall.shop, SHOW, "ann")[0]
    for _ in range(TURNS):
        async with contextlib.AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(connected(race.urls[number % 2]))
                for number in range(SOCKETS)
            ]
            answers = Counter(await asyncio.gather(*(comes_in(one, token) for one in sockets)))
            refused = "This ticket was used; ask for another."
            assert answers == {"welcome": 1, refused: SOCKETS - 1}
            [token] = [one.welcome["token"] for one in sockets if one.welcome]


def without_the_check() -> Script:
    text = load("ticket_take").text
    assert CHECK in text
    text = text.replace(CHECK, "false")
    return Script("unsafe", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@pytest.mark.parametrize(
    ("script", "taken"), [(load("ticket_take"), 1), (without_the_check(), SOCKETS)]
)
async def test_what_keeps_the_others_out_is_the_check(
    race: Race, script: Script, taken: int
) -> None:
    stall = race.stall
    token = race.tokens.sign_ticket(stall.shop, SHOW, "ann")[0]
    keys = (ShopKeys(stall.shop).ticket(mark(token)),)
    async with served(stall.settings) as other:
        lanes = (stall.lane, other)
        replies = await asyncio.gather(
            *(lanes[n % 2].call(script, keys, (f"session-{n}", 60_000)) for n in range(SOCKETS))
        )
    assert replies.count([b"TAKEN"]) == taken
