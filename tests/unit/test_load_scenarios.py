"""Scenarios are whole: their stages follow one another, and what must hold is beside them."""

import pytest

from loadtest.drop.arrivals import from_rates
from loadtest.drop.scenarios import Scenario, scenarios

ALL = list(scenarios().values())
PLAYED = [one for one in ALL if one.name != "replay"]


def test_all_the_promised_scenarios_are_there_and_the_drop_is_the_default() -> None:
    assert list(scenarios()) == [
        "warm_up_and_drop", "ten_drops_an_hour", "reconnect_storm", "slow_leak", "emf_camp",
        "million_in_miniature", "smoke", "replay",
    ]  # fmt: skip


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_stages_follow_one_another_and_the_last_is_for_finishing(scenario: Scenario) -> None:
    ends = [stage.until_s for stage in scenario.stages]
    assert ends == sorted(set(ends))
    assert scenario.stages[-1].name == "finishing"
    assert all(drop.at_s < scenario.closes_at_s for drop in scenario.drops)
    assert all(at_s < scenario.closes_at_s for at_s in scenario.storms_at_s)
    assert scenario.stage_at(scenario.ends_at_s) is None
    assert scenario.stage_at(0) is scenario.stages[0]


@pytest.mark.parametrize("scenario", PLAYED, ids=lambda one: one.name)
def test_everybody_is_there_in_time_for_the_first_stage_to_end(scenario: Scenario) -> None:
    first = scenario.stages[0]
    assert first.shoppers / first.per_s <= first.until_s


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_every_step_of_a_purchase_is_bounded(scenario: Scenario) -> None:
    bounded = {threshold.what for threshold in scenario.thresholds}
    assert bounded >= {
        "ticket", "connect", "reserve", "release", "checkout", "push stock", "push sold_out",
        "errors", "refused upgrades",
    }  # fmt: skip
    assert scenario.arithmetic


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_whatever_is_bounded_at_its_slowest_is_bounded_in_the_middle(scenario: Scenario) -> None:
    at_most = {(one.what, one.statistic): one.at_most for one in scenario.thresholds}
    slowest = {what: ms for (what, statistic), ms in at_most.items() if statistic == "p99_ms"}
    middle = {what: ms for (what, statistic), ms in at_most.items() if statistic == "p50_ms"}
    assert slowest.keys() == middle.keys()
    assert all(middle[what] < ms for what, ms in slowest.items())


def test_the_camp_is_sold_out_in_thirteen_seconds_at_134_a_second() -> None:
    camp = scenarios()["emf_camp"]
    arrivals = from_rates(camp.rates)
    opens_s = arrivals[0].at_s
    assert max(rate for _, rate in camp.rates) == 134
    peak = sum(opens_s + 4 <= one.at_s < opens_s + 5 for one in arrivals)
    assert peak == pytest.approx(134, abs=1)
    wanted = sum(one.at_s <= 5 + 13 for one in arrivals) * 1.1
    assert wanted == pytest.approx(camp.units, rel=0.03)


def test_other_numbers_keep_the_shares() -> None:
    hour = scenarios()["ten_drops_an_hour"].of(shoppers=50, units=33)
    assert hour.shoppers == 50
    assert hour.units == 33
    assert len(hour.drops) == 10
    camp = scenarios()["emf_camp"].of(shoppers=100)
    assert len(from_rates(camp.rates)) == pytest.approx(100, abs=2)


def test_compressing_shortens_all_but_the_time_to_finish() -> None:
    hour = scenarios()["ten_drops_an_hour"]
    short = hour.compressed(20)
    assert short.closes_at_s == pytest.approx(hour.closes_at_s / 20)
    assert short.ends_at_s - short.closes_at_s == pytest.approx(hour.ends_at_s - hour.closes_at_s)
    assert short.drops[1].at_s == pytest.approx(hour.drops[1].at_s / 20)
    first = short.stages[0]
    assert first.shoppers / first.per_s <= first.until_s + 0.001
    camp = scenarios()["emf_camp"]
    assert len(from_rates(camp.compressed(4).rates)) == pytest.approx(
        len(from_rates(camp.rates)), abs=2
    )
