"""Faults strike as often, where and as many times as the plan says."""

import random

import msgspec
import pytest

from gateway.sandbox.stripe.faults import SHUFFLE_S, SPARED, FaultPlan, Faults, WebhookFaults


def _faults(plan: FaultPlan) -> Faults:
    return Faults(plan, random.Random(3))


def test_nothing_happens_by_default() -> None:
    faults = _faults(FaultPlan())
    assert not any(faults.loses_reply("a") or faults.breaks("a") for _ in range(1000))
    assert faults.deliveries() == [0]


def test_a_percentage_is_a_percentage() -> None:
    faults = _faults(FaultPlan(lose_reply_percent=20))
    lost = sum(faults.loses_reply("a") for _ in range(10_000))
    assert 1_850 < lost < 2_150


def test_a_plan_for_one_endpoint_spares_the_others() -> None:
    faults = _faults(FaultPlan(error_500_percent=100, endpoint="a"))
    assert faults.breaks("a")
    assert not faults.breaks("b")


def test_the_summary_is_spared() -> None:
    assert not _faults(FaultPlan(lose_reply_percent=100)).loses_reply(SPARED)


def test_so_many_times_and_no_more() -> None:
    faults = _faults(FaultPlan(lose_reply_percent=100, times=3))
    assert [faults.loses_reply("a") for _ in range(5)] == [True, True, True, False, False]
    faults.switch(faults.plan)
    assert faults.loses_reply("a")


def test_webhooks_are_dropped_doubled_and_delayed() -> None:
    def deliveries(**plan: float) -> list[float]:
        return _faults(FaultPlan(webhooks=msgspec.convert(plan, WebhookFaults))).deliveries()

    assert deliveries(drop_percent=100) == []
    assert deliveries(duplicate_percent=100, delay_ms=50) == [0.05, 0.05]


def test_shuffled_webhooks_are_spread() -> None:
    faults = _faults(FaultPlan(webhooks=WebhookFaults(shuffle=True)))
    delays = [faults.deliveries()[0] for _ in range(100)]
    assert delays != sorted(delays)
    assert 0 <= min(delays) < max(delays) <= SHUFFLE_S


@pytest.mark.parametrize(
    "plan",
    [
        b'{"latency": 1}',
        b'{"latency_ms": -1}',
        b'{"latency_ms": 60001}',
        b'{"lose_reply_percent": 101}',
        b'{"times": -1}',
        b'{"webhooks": {"drop": 1}}',
        b"[]",
    ],
)
def test_a_plan_with_a_mistake_is_refused(plan: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(plan, type=FaultPlan)
