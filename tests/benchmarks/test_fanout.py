"""The benchmark of telling viewers, in small: it still runs, and its books still catch an error.

The figures are made by ``python -m loadtest.bench_fanout``. ``HOLDFAST_TEST_DEEP=yes`` plays all
sections and ways instead of the chief ones.
"""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.messages import StockFrame, encode
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from loadtest import bench_fanout, report
from loadtest.bench_fanout import SECTIONS
from loadtest.fanout import stage, tables
from loadtest.fanout.freshness import Change, ages, messages, quantile
from loadtest.fanout.readers import Sighting
from loadtest.fanout.sections import Bench, _knock, audiences
from tests.depth import DEEP, deep

CHIEF = ("holdfast", "floor")
QUICK = ("writes",)
VIEWERS = 12
README = Path(bench_fanout.__file__).parent / "README.md"


@pytest.fixture(scope="module")
def valkey(warden: Warden) -> Iterator[EmbeddedValkey]:
    """A Valkey of its own: the benchmark empties the store."""
    with EmbeddedValkey(warden.group, port=0) as server:
        yield server


@pytest.fixture
def bench(valkey: EmbeddedValkey, warden: Warden, tmp_path: Path) -> Bench:
    return Bench(
        group=warden.group,
        valkey=valkey,
        rounds=1,
        viewers=VIEWERS,
        crowd=(4, VIEWERS),
        attempts=4,
        sale_s=1,
        rate=200,
        say=lambda _: None,
        rng=random.Random(1),
        folder=tmp_path,
        settle_s=0.4,
        ways=() if DEEP else CHIEF,
    )


@deep
@pytest.mark.parametrize("name", SECTIONS if DEEP else QUICK)
def test_a_section_adds_up_and_has_a_table_and_charts_that_are_xml(name: str, bench: Bench) -> None:
    section = SECTIONS[name](bench)
    assert section.wrong == []
    assert section.rows
    assert all(row.values for row in section.rows)
    assert tables.markdown(section).startswith("| ")
    readme = README.read_text()
    for file, drawing in tables.charts(section).items():
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
        assert f"figures/{file}" in readme


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_place_in_the_readme(name: str) -> None:
    assert f"<!-- {name} -->\n" in README.read_text()


def test_a_frame_too_many_or_too_few_is_noticed(bench: Bench) -> None:
    with audiences(bench, ["floor"]) as (audience,):
        audience.hear()
        audience.no_strays()
        audience.tell()
        with pytest.raises(RuntimeError, match=f"{VIEWERS} frames were due"):
            audience.no_strays()


def test_who_is_let_in_past_the_cap_is_noticed(bench: Bench) -> None:
    with (
        stage.tower(bench.group, "broadcast") as server,
        stage.readers(bench.group, server.port, joins=False) as crowd,
    ):
        _, wrong = _knock(bench, "cap", server, crowd)
    assert len(wrong) == 1
    assert "503 expected, came {'101': 4}" in wrong[0]


def frame(version: int, **items: int) -> bytes:
    return encode(StockFrame(epoch=1, version=version, items=items))


def test_a_change_is_as_old_as_the_first_frame_that_is_new_enough_and_has_its_sku() -> None:
    changes = {
        "tee": [Change(1, 1_000, 9), Change(2, 1_010, 8)],
        "cup": [Change(3, 1_020, 0)],
    }
    seen = [
        Sighting(7, 1_040.0, frame(2, tee=8)),
        Sighting(7, 1_050.4, frame(3, cup=0)),
        Sighting(8, 1_090.0, frame(3, tee=8)),
    ]
    found = ages(changes, seen, viewers=2)
    assert found.stock == {40: 1, 30: 2, 90: 1, 80: 1}
    assert found.sold_out == {30: 1}
    assert found.unseen == 1


def test_of_a_subscription_the_messages_are_read_and_not_its_beginning() -> None:
    begun = b"*3\r\n$10\r\nssubscribe\r\n$5\r\nh:{x}\r\n:1\r\n"
    said = b"*3\r\n$8\r\nsmessage\r\n$5\r\nh:{x}\r\n$%d\r\n%b\r\n"
    texts = [b'{"stock":{"a":1}}', b'{"show":"$8\\r"}']
    assert list(messages(begun + b"".join(said % (len(one), one) for one in texts))) == texts


def test_a_share_of_what_was_seen_was_seen_within_an_age() -> None:
    counts = Counter({10: 98, 20: 1, 500: 1})
    assert (quantile(counts, 0.5), quantile(counts, 0.99), quantile(counts, 1)) == (10, 20, 500)


def test_too_few_files_are_noticed_before_anything_is_started() -> None:
    with pytest.raises(stage.TooFewFiles, match="ulimit"):
        stage.allow_files(2**40)


def test_tables_go_between_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "HERE", tmp_path)
    (tmp_path / "README.md").write_text("a\n<!-- one -->\nold\n<!-- end -->\nz\n")
    report.publish({"one": "new\n", "two": "nowhere\n"}, {"drawn.svg": "<svg/>"})
    assert (tmp_path / "README.md").read_text() == "a\n<!-- one -->\nnew\n<!-- end -->\nz\n"
    assert (tmp_path / "figures" / "drawn.svg").read_text() == "<svg/>"
