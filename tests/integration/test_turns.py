"""The queue before Stripe: one for all processes, in order, never too fast, and never stuck."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.checkout.turns import CalledOff, Endpoint, Place, Turns
from gateway.errors import Overloaded
from gateway.keys import StripeKeys
from gateway.lane import served
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from tests.late import LATE_S, Late
from tests.processes import ROOT, environment

PATIENCE_S = 15
BURST = 0.4
CREATE, CAPTURE = Endpoint.CREATE, Endpoint.CAPTURE

Sleep = Callable[[float], Awaitable[None]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An account of one's own, and so a queue of one's own."""
    key = f"sk_test_{uuid.uuid4().hex}"
    return msgspec.structs.replace(
        settings, stripe_api_key=key, stripe_rate_per_s=200, stripe_account_rate_per_s=1000
    )


@pytest.fixture
async def makes(settings: Settings) -> AsyncIterator[Callable[..., Turns]]:
    """Makes one process' turns after the other, each with changes to the settings."""
    async with served(settings) as lane:

        def make(sleep: Sleep = asyncio.sleep, **changes: int) -> Turns:
            return Turns(lane, msgspec.structs.replace(settings, **changes), sleep)

        yield make


async def gone(turns: Turns, endpoint: Endpoint = CREATE) -> float:
    """When it was one's turn."""
    await turns.take(endpoint)
    return time.time()


async def ready(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not fact():
            await asyncio.sleep(0.002)


async def emptied(turns: Turns) -> None:
    """A queue after a rush: the burst is used up."""
    rate = turns.settings.stripe_rate_per_s
    await asyncio.gather(*(gone(turns) for _ in range(int(rate * BURST))))


def most_beyond(moments: list[float], rate: float) -> float:
    """How many more went within any window than the rate allows for its length."""
    beyond, worst = 0.0, 0.0
    moments = sorted(moments)
    for before, after in itertools.pairwise(moments):
        beyond = max(0.0, beyond - (after - before) * rate) + 1
        worst = max(worst, beyond)
    return worst


# The rate


async def test_no_window_holds_more_than_the_rate_and_the_burst(
    makes: Callable[..., Turns], late: Late
) -> None:
    processes = [makes() for _ in range(4)]
    began = time.time()
    moments = await asyncio.gather(*(gone(processes[n % 4]) for n in range(280)))
    assert max(moments) - began > (280 - 80) / 200 - LATE_S
    assert most_beyond(moments, 200) <= 200 * (BURST + late.most_s)


ASKER = """
import asyncio, json, os, sys, time
from gateway.checkout.turns import Endpoint, Turns
from gateway.lane import served
from gateway.environment import read
from tests.late import Late

async def main():
    settings = read(os.environ)
    async with served(settings) as lane:
        turns = Turns(lane, settings)
        late = Late()
        watching = asyncio.create_task(late.watch())
        async def go():
            await turns.take(Endpoint.CREATE)
            return time.time()
        moments = await asyncio.gather(*(go() for _ in range(int(sys.argv[1]))))
        watching.cancel()
        print(json.dumps([late.most_s, moments]))

asyncio.run(main())
"""


def _asker(env: dict[str, str], group: int) -> tuple[float, list[float]]:
    """How late it may have been, and the moments of its turns."""
    asked = subprocess.run(
        [sys.executable, "-c", ASKER, "60"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        process_group=group,
        check=True,
        timeout=60,
    )
    most_s, moments = json.loads(asked.stdout)
    return most_s, moments


async def test_several_processes_stand_in_one_queue(
    redis_url: str, shop: str, warden: Warden
) -> None:
    env = environment(redis_url, "http://127.0.0.1:9", shop)
    env |= {
        "STRIPE_API_KEY": f"sk_test_{shop}",
        "HOLDFAST_STRIPE_RATE_PER_S": "100",
        "HOLDFAST_STRIPE_ACCOUNT_RATE_PER_S": "1000",
    }
    said = await asyncio.gather(*(asyncio.to_thread(_asker, env, warden.group) for _ in range(3)))
    moments = [moment for _, one in said for moment in one]
    assert len(moments) == 180
    # Processes start when they start; whatever their order, together they keep to the rate.
    assert most_beyond(moments, 100) <= 100 * (BURST + max(most_s for most_s, _ in said))


async def test_the_account_has_a_limit_over_all_endpoints(
    makes: Callable[..., Turns], late: Late
) -> None:
    turns = makes(stripe_account_rate_per_s=100)
    began = time.time()
    moments = await asyncio.gather(
        *(gone(turns, endpoint) for endpoint in (CREATE, CAPTURE, Endpoint.READ) for _ in range(40))
    )
    assert max(moments) - began > (120 - 40) / 100 - LATE_S
    assert most_beyond(moments, 100) <= 100 * (BURST + late.most_s)


async def test_who_looks_late_is_let_through_at_the_same_pace(
    makes: Callable[..., Turns], late: Late
) -> None:
    """A process stalls, or Redis does: afterwards there is no rush."""
    stalled = asyncio.Event()

    async def stalls(seconds: float) -> None:
        if stalled.is_set():
            await asyncio.sleep(seconds)
        await stalled.wait()

    turns = makes(stalls, stripe_rate_per_s=50)
    waiting = [asyncio.create_task(gone(turns)) for _ in range(20 + 60)]
    await ready(lambda: turns.waiting == 60)
    await asyncio.sleep(1.2)
    stalled.set()
    moments = await asyncio.gather(*waiting)
    assert most_beyond(moments, 50) <= 50 * (BURST + late.most_s)


async def test_the_account_is_shared_in_order_and_without_a_rush(
    makes: Callable[..., Turns], late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty a second for all, whatever each endpoint may: nobody asks Redis all the time."""
    turns, looks, went = makes(stripe_account_rate_per_s=50), 0, list[int]()
    look = Turns._look

    def counted(self: Turns, *words: Any) -> Awaitable[list[bytes]]:
        nonlocal looks
        looks += 1
        return look(self, *words)

    monkeypatch.setattr(Turns, "_look", counted)

    async def queue_up(number: int) -> None:
        await turns.take(CREATE)
        went.append(number)

    await asyncio.gather(*(queue_up(number) for number in range(100)))
    assert looks <= 5 * 100
    assert max(abs(place - number) for place, number in enumerate(went)) <= 50 * late.most_s


async def test_one_endpoints_queue_keeps_no_other_waiting(
    makes: Callable[..., Turns], late: Late
) -> None:
    turns = makes(stripe_rate_per_s=5)
    waiting = [asyncio.create_task(turns.take(CREATE)) for _ in range(30)]
    await ready(lambda: turns.waiting == 28)
    began = time.time()
    assert await gone(turns, CAPTURE) - began < 1 + late.worst_s
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


# The order


async def test_who_comes_first_goes_first(makes: Callable[..., Turns], late: Late) -> None:
    processes = [makes(stripe_rate_per_s=50) for _ in range(3)]
    went: list[int] = []

    async def queue_up(number: int) -> None:
        await processes[number % 3].take(CREATE)
        went.append(number)

    tasks = []
    for number in range(60):
        tasks.append(asyncio.create_task(queue_up(number)))
        await asyncio.sleep(0)  # The lane sends in the order it is asked.
    await asyncio.gather(*tasks)
    # Two who are called within a moment may pass each other on the way back, but not more.
    assert max(abs(place - number) for place, number in enumerate(went)) <= 50 * late.most_s


async def test_places_go_down(makes: Callable[..., Turns]) -> None:
    async def often(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.1))

    turns = makes(often, stripe_rate_per_s=20)
    await emptied(turns)
    ahead = [asyncio.create_task(turns.take(CREATE)) for _ in range(20)]
    await ready(lambda: turns.waiting == 20)
    told: list[Place] = []
    seen: list[float] = []
    began = time.time()

    async def listen(place: Place) -> bool:
        told.append(place)
        seen.append(time.time() - began)
        return True

    async with asyncio.timeout(PATIENCE_S):
        await turns.take(CREATE, listen)
    await asyncio.gather(*ahead)
    positions = [place.position for place in told]
    assert 18 - 20 * seen[0] <= positions[0] <= 21
    assert positions == sorted(positions, reverse=True)
    assert positions[-1] <= 10
    assert [place.eta_s for place in told] == sorted((p.eta_s for p in told), reverse=True)
    assert told[0].eta_s in {1, 2}


async def test_a_call_off_takes_effect_and_those_behind_go_on(makes: Callable[..., Turns]) -> None:
    turns = makes(stripe_rate_per_s=20)
    await emptied(turns)
    ahead = [asyncio.create_task(turns.take(CREATE)) for _ in range(20)]
    await ready(lambda: turns.waiting == 20)

    async def not_any_more(_: Place) -> bool:
        return False

    with pytest.raises(CalledOff):
        await turns.take(CREATE, not_any_more)
    assert turns.waiting == 20
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*ahead, turns.take(CREATE))
    assert turns.waiting == 0


async def test_who_died_costs_one_turn_and_no_more(makes: Callable[..., Turns], late: Late) -> None:
    turns = makes(stripe_rate_per_s=50)
    await emptied(turns)
    dead = [asyncio.create_task(turns.take(CREATE)) for _ in range(25)]
    await ready(lambda: turns.waiting == 25)
    for task in dead:
        task.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    assert turns.waiting == 0
    began = time.time()
    assert 26 / 50 - LATE_S < await gone(turns) - began < 26 / 50 + 1 + late.worst_s


# Pauses


async def test_a_pause_stops_everybody_and_then_they_go_on(
    makes: Callable[..., Turns], late: Late
) -> None:
    one, other = makes(), makes()
    await emptied(one)
    waiting = [asyncio.create_task(gone(one if n % 2 else other)) for n in range(60)]
    await ready(lambda: any(task.done() for task in waiting))
    await other.pause(CREATE, 700)
    paused = time.time()
    latecomers = [asyncio.create_task(gone(one)) for _ in range(5)]
    moments = await asyncio.gather(*waiting, *latecomers)
    meanwhile = [moment for moment in moments if paused + 0.05 < moment < paused + 0.69]
    assert meanwhile == []
    after = [moment for moment in moments if moment >= paused + 0.69]
    assert len(after) >= 5
    assert most_beyond(after, 200) <= 200 * (BURST + late.most_s)
    assert max(after) < paused + 0.7 + 65 / 200 + 1 + late.worst_s


async def test_a_shorter_pause_does_not_end_a_longer_one(makes: Callable[..., Turns]) -> None:
    turns = makes()
    began = time.time()
    await turns.pause(CREATE, 600)
    await turns.pause(CREATE, 50)
    assert await gone(turns) - began >= 0.59


async def test_a_pause_of_one_endpoint_stops_no_other(
    makes: Callable[..., Turns], late: Late
) -> None:
    turns = makes()
    await turns.pause(CREATE, 5000)
    began = time.time()
    assert await gone(turns, CAPTURE) - began < 1 + late.worst_s


async def test_waiting_out_a_pause_is_told(makes: Callable[..., Turns]) -> None:
    turns, told = makes(), list[Place]()
    await turns.pause(CREATE, 600)

    async def listen(place: Place) -> bool:
        told.append(place)
        return True

    await turns.take(CREATE, listen)
    assert told[0] == Place(1, 1)


# Limits


async def test_a_queue_longer_than_can_be_served_in_time_is_full(
    makes: Callable[..., Turns],
) -> None:
    turns = makes(stripe_rate_per_s=5, stripe_queue_s=4)
    # Two go at once, twenty may wait, and a turn may come free meanwhile.
    waiting = [asyncio.create_task(turns.take(CREATE)) for _ in range(2 + 20 + 8)]
    await ready(lambda: sum(task.done() for task in waiting) >= 2 + 5)
    refused = [task.exception() for task in waiting if task.done() and task.exception()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(refused) >= 5
    for refusal in refused:
        assert isinstance(refusal, Overloaded)
        retry_after_ms = refusal.facts["retry_after_ms"]
        assert isinstance(retry_after_ms, int)
        assert 3500 < retry_after_ms <= 4200


async def test_a_redis_that_pauses_costs_nobody_the_place(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    impatient = msgspec.structs.replace(settings, redis_timeout_ms=30, redis_attempts=1)

    async def nap(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    async with served(impatient) as lane, served(settings) as other:
        turns = Turns(lane, impatient, nap)
        await other.command("CLIENT", "PAUSE", 60_000, "WRITE")
        going = [asyncio.create_task(gone(turns)) for _ in range(20)]
        await ready(lambda: "attempt 1 failed" in caplog.text)
        await other.command("CLIENT", "UNPAUSE")
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*going)


async def test_a_forgotten_queue_leaves_nobody_waiting(makes: Callable[..., Turns]) -> None:
    turns = makes(stripe_rate_per_s=20)
    keys = StripeKeys(turns.settings.stripe_account)
    waiting = [asyncio.create_task(turns.take(CREATE)) for _ in range(60)]
    await ready(lambda: turns.waiting <= 50)
    await turns.lane.command("DEL", keys.queue(CREATE))
    await turns.lane.command("DEL", keys.all)
    async with asyncio.timeout(60 / 20 + 5):
        await asyncio.gather(*waiting, turns.take(CREATE))
