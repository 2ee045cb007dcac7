"""The one command of the load test: what is asked of it is what Locust is told."""

import pytest

from loadtest.flash import read_sale


@pytest.mark.parametrize(
    ("asked", "scenario", "told"),
    [
        ("", "warm_up_and_drop", ""),
        ("--scenario emf_camp", "emf_camp", ""),
        ("--shoppers 100 --units 20", "warm_up_and_drop", "--shoppers 100 --units 20"),
        ("--compress 8", "warm_up_and_drop", "--compress 8.0"),
        ("--replay a.jsonl --times 3", "replay", "--arrivals a.jsonl --times 3"),
    ],
)
def test_what_nobody_asked_for_is_as_the_scenario_has_it(
    asked: str, scenario: str, told: str
) -> None:
    sale = read_sale(asked.split())
    assert (sale.scenario, sorted(sale.words)) == (scenario, sorted(told.split()))
