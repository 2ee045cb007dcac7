"""Whether something still moves."""

import asyncio
import contextlib

from gateway.pulse import Pulse


class Hand:
    """A clock moved by hand."""

    now_s = 0.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


def test_its_age_is_the_time_since_it_last_beat() -> None:
    clock = Hand()
    pulse = Pulse(clock)
    clock.now_s = 7
    assert pulse.age_s == 7
    pulse.beat()
    assert pulse.age_s == 0


async def test_that_of_a_loop_beats_as_long_as_the_loop_moves() -> None:
    clock = Hand()
    pulse = Pulse(clock)
    clock.now_s = 7
    beating = asyncio.create_task(pulse.of_loop(0.01))
    async with asyncio.timeout(30):
        while pulse.age_s:
            await asyncio.sleep(0.01)
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
