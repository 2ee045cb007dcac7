"""The demo's command line."""

import argparse
from pathlib import Path

import pytest

from gateway.demo.options import FAULTS_EXAMPLE, DemoOptions, add_arguments
from gateway.sandbox.stripe.faults import FaultPlan, WebhookFaults


def parsed(*words: str) -> DemoOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return DemoOptions.of(parser.parse_args(words))


def test_without_words_it_is_the_defaults() -> None:
    assert parsed() == DemoOptions()


def test_every_option_is_taken_over() -> None:
    words = ["--port=0", "--crowd=200", "--for=1.5", "--catalog=a.csv", "--data-dir=d", "--json"]
    plan = '--faults={"down": true}'
    assert parsed(*words, plan) == DemoOptions(
        0, 200, 1.5, Path("a.csv"), Path("d"), FaultPlan(down=True), json=True
    )


def test_faults_are_read_before_anything_starts() -> None:
    plan = parsed("--faults", FAULTS_EXAMPLE).faults
    assert plan == FaultPlan(
        lose_reply_percent=5, webhooks=WebhookFaults(shuffle=True, duplicate_percent=100)
    )


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ("lose", "malformed"),
        ('{"lose": 5}', "unknown field `lose`"),
        ('{"lose_reply_percent": 500}', "`$.lose_reply_percent`"),
    ],
)
def test_faults_with_a_mistake_are_one_clear_sentence(
    plan: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--faults", plan)
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--faults: not a plan of faults" in said
    assert says in said
    assert FAULTS_EXAMPLE in said


def test_the_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    assert "lose_reply_percent" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("--port", "70000"),
        ("--port", "http"),
        ("--crowd", "-1"),
        ("--crowd", "1000000"),
        ("--for", "0"),
        ("--for", "nan"),
        ("--for", "inf"),
    ],
)
def test_what_cannot_be_is_named(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
