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


def test_a_cut_strikes_as_often_as_planned_and_an_outage_always() -> None:
    faults = _faults(FaultPlan(cut_percent=100, times=1))
    assert [faults.cuts("a") for _ in range(2)] == [True, False]
    down = _faults(FaultPlan(down=True, times=0, endpoint="a"))
    assert [down.cuts(endpoint) for endpoint in ("a", "a", "b")] == [True, True, False]
    assert not _faults(FaultPlan(down=True)).cuts(SPARED)


def test_every_percentage_has_its_strike() -> None:
    strikes = {
        "hang_percent": Faults.hangs,
        "lock_percent": Faults.locks,
        "declines_percent": Faults.declines,
        "second_step_percent": Faults.asks,
        "capture_loses_percent": Faults.capture_loses,
        "cancel_loses_percent": Faults.cancel_loses,
        "pending_refund_percent": Faults.delays_refund,
    }
    for name, strikes_at in strikes.items():
        faults = _faults(msgspec.convert({name: 100, "endpoint": "a"}, FaultPlan))
        assert strikes_at(faults, "a"), name
        assert not strikes_at(faults, "b"), name


def test_the_bank_hears_what_the_plan_says() -> None:
    def heard(plan: FaultPlan) -> list[str | None]:
        return [_faults(plan).answer(endpoint, "succeed") for endpoint in ("a", "b")]

    assert heard(FaultPlan()) == ["succeed", "succeed"]
    assert heard(FaultPlan(second_step="fail")) == ["fail", "fail"]
    assert heard(FaultPlan(second_step="never", endpoint="b")) == ["succeed", None]


def test_webhooks_are_dropped_doubled_and_delayed() -> None:
    def deliveries(**plan: float) -> list[float]:
        return _faults(FaultPlan(webhooks=msgspec.convert(plan, WebhookFaults))).deliveries()

    assert deliveries(drop_percent=100) == []
    assert deliveries(duplicate_percent=100, delay_ms=50) == [0.05, 0.05]
    assert len(deliveries(duplicate_percent=100, copies=10)) == 10


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
        b'{"webhooks": {"copies": 1}}',
        b'{"second_step": "maybe"}',
        b'{"down": 1}',
        b"[]",
    ],
)
def test_a_plan_with_a_mistake_is_refused(plan: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(plan, type=FaultPlan)
