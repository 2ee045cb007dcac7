"""The demo's command line."""

import argparse
from pathlib import Path

import pytest

from gateway.demo.options import DemoOptions, add_arguments


def parsed(*words: str) -> DemoOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return DemoOptions.of(parser.parse_args(words))


def test_without_words_it_is_the_defaults() -> None:
    assert parsed() == DemoOptions()


def test_every_option_is_taken_over() -> None:
    words = ["--port=0", "--crowd=200", "--for=1.5", "--catalog=a.csv", "--data-dir=d", "--json"]
    assert parsed(*words) == DemoOptions(0, 200, 1.5, Path("a.csv"), Path("d"), json=True)


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
