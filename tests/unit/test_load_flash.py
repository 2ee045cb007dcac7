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
        ("--seed 7 --thresholds t.json", "warm_up_and_drop", "--seed 7 --thresholds t.json"),
        ("--replay a.jsonl", "replay", "--arrivals a.jsonl"),
        (
            "--replay a.jsonl --times 3 --compress 2 --units 9 --seed 7 --thresholds t.json",
            "replay",
            "--arrivals a.jsonl --times 3 --compress 2.0 --units 9 --seed 7 --thresholds t.json",
        ),
    ],
)
def test_what_nobody_asked_for_is_as_the_scenario_has_it(
    asked: str, scenario: str, told: str
) -> None:
    sale = read_sale(asked.split())
    assert (sale.scenario, sorted(sale.words)) == (scenario, sorted(told.split()))


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ("--replay a.jsonl --shoppers 100", "--shoppers is nothing to --replay"),
        ("--replay a.jsonl --scenario smoke", "--scenario is nothing to --replay"),
        ("--times 3", "--times is nothing without --replay"),
        ("--scenario replay", "--replay FILE"),
    ],
)
def test_what_would_be_dropped_is_refused_before_anything_starts(
    asked: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_sale(asked.split())
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
