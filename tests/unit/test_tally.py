"""The relay's figures, and those of the sockets."""

import asyncio
import contextlib
import time

from prometheus_client import CollectorRegistry, generate_latest

from gateway.pos.tally import Tally
from gateway.sockets import tally as sockets


def test_figures_are_kept_by_shop_and_webhook() -> None:
    registry = CollectorRegistry()
    tally = Tally(registry)
    tally.of("acme", "till").delivered.inc()
    tally.of("acme", "books").parked_now.set(2)
    text = generate_latest(registry).decode()
    assert 'holdfast_relay_delivered_total{shop="acme",webhook="till"} 1.0' in text
    assert 'holdfast_relay_parked_now{shop="acme",webhook="books"} 2.0' in text


def test_a_relay_that_left_says_nothing_of_what_is_in_hand() -> None:
    registry = CollectorRegistry()
    tally = Tally(registry)
    tally.of("acme", "till").in_hand.set(3)
    tally.of("acme", "till").parked.inc()
    tally.leave("acme", "till")
    text = generate_latest(registry).decode()
    assert "holdfast_relay_in_hand{" not in text
    assert 'holdfast_relay_parked_total{shop="acme",webhook="till"} 1.0' in text


def test_however_many_webhooks_there_are_few_are_told_apart() -> None:
    registry = CollectorRegistry()
    tally = Tally(registry, most_named=2)
    for webhook in ("till", "books", "third", "fourth"):
        figures = tally.of("acme", webhook)
        figures.delivered.inc()
        figures.in_hand.set(7)
    text = generate_latest(registry).decode()
    assert text.count("holdfast_relay_delivered_total{") == 3
    assert 'holdfast_relay_delivered_total{shop="other",webhook="other"} 2.0' in text
    # What several have now cannot be told in one figure.
    assert text.count("holdfast_relay_in_hand{") == 2
    tally.leave("acme", "third")
    tally.leave("acme", "books")
    tally.of("acme", "books").in_hand.set(1)
    assert generate_latest(registry).decode().count("holdfast_relay_in_hand{") == 2


def test_an_answer_is_counted_and_those_that_shoppers_wait_for_are_timed() -> None:
    tally = sockets.Tally()
    tally.answered("reserve", "ok", 0.02)
    tally.answered("reserve", "sold_out", 0.03)
    tally.answered("ask", "ok", 0.01)
    assert tally.commands == {("reserve", "ok"): 1, ("reserve", "sold_out"): 1, ("ask", "ok"): 1}
    assert {kind: took.total for kind, took in tally.took.items()} == {"reserve": 2, "checkout": 0}


def test_peers_may_close_with_any_code_and_few_are_told_apart() -> None:
    tally = sockets.Tally()
    for code in (1000, 1001, 1005, 1006, 1011, *range(3_000, 4_000)):
        tally.went(code)
    assert tally.gone == {"1000": 1, "1001": 1, "1005": 1, "1006": 1, "other": 1_001}


async def test_a_loop_that_is_held_is_seen_to_be_late() -> None:
    tally = sockets.Tally()
    feeling = asyncio.create_task(sockets.feel_loop(tally))
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251 - This holds the loop.
    async with asyncio.timeout(30):
        while not sum(tally.loop_lag.counts):
            await asyncio.sleep(0.01)
    feeling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeling
    assert tally.loop_lag.sum_s >= 0.3
