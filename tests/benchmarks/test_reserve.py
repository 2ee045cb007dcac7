"""The benchmark of reservations, in small: it still runs, and it still sees who oversells.

The figures are made by ``python -m loadtest.bench_reserve``.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from loadtest import bench_reserve, crew, tables
from loadtest.crowd import flood, names, pace, race, wishes
from loadtest.figures import Point, Section, Verdict, verdict
from loadtest.sections import RIVALS, SECTIONS
from loadtest.ways import Books, Places, Wish
from loadtest.ways.menu import WAYS
from loadtest.ways.redlock import redlock
from loadtest.worker import Task

UNITS = 20
REQUESTS = 60


@pytest.fixture(scope="module")
def places(warden: Warden) -> Iterator[Places]:
    """A Valkey of its own: a way empties the store before it fills the shelf."""
    with EmbeddedValkey(warden.group, port=0) as server:
        yield Places((server.url,))


async def raced(way: str, places: Places) -> Verdict:
    async with WAYS[way].open(places, {}) as opened:
        await opened.stock(names(1), UNITS)
        tally = await race(opened, wishes(0, 1, 1), REQUESTS, REQUESTS)
        books = await opened.books()
    run = crew.Run(tally.decided, tally.held, tally.given_up, tally.wall_s, tally.cpu_s, None)
    return verdict(run, books, UNITS, 1)


@pytest.mark.parametrize("way", ["ours", "script_each", "watch", "redlock"])
async def test_a_sound_way_hands_out_what_is_there_and_a_repeated_request_moves_nothing(
    way: str, places: Places
) -> None:
    judged = await raced(way, places)
    assert (judged.handed_out, judged.oversold) == (UNITS, 0)
    assert judged.sound


async def test_looking_and_then_taking_oversells(places: Places) -> None:
    judged = await raced("naive", places)
    assert judged.oversold > 0
    assert not judged.sound


async def test_a_pause_longer_than_the_lock_lasts_oversells(places: Places) -> None:
    looked = asyncio.Event()

    def pauses() -> Iterator[float]:
        """Of the first holder, once it has looked."""
        looked.set()
        yield 0.4

    async with redlock(places, {"ttl_s": 0.02}) as slow, redlock(places, {}) as quick:
        await quick.stock(names(1), 1)
        slow.pauses = pauses()
        sleeper = asyncio.create_task(slow.reserve(Wish("ann", "k1", ("sku0000",))))
        await looked.wait()
        sold = [await quick.reserve(Wish("bob", "k1", ("sku0000",))), await sleeper]
        assert None not in sold
        assert await quick.books() == Books(moved=2, holds=2)


async def test_open_and_closed_loops_count_what_the_store_counts(places: Places) -> None:
    async with WAYS["ours"].open(places, {}) as way:
        await way.stock(names(3), 100_000)
        asked = wishes(0, 3, 3)
        loop = await flood(way, asked, 8, 0.05, lambda _: None)
        rate = await pace(way, asked, 200, 0.2, 1, lambda _: None)
        books = await way.books()
    assert loop.decided > 0
    assert len(rate.latencies_ms) == rate.decided > 0
    assert books == Books(moved=3 * (loop.held + rate.held), holds=loop.held + rate.held)


def test_workers_are_measured_together_and_the_section_is_told(
    places: Places, warden: Warden
) -> None:
    async def stock() -> None:
        async with WAYS["ours"].open(places, {}) as way:
            await way.stock(names(1), UNITS)

    asyncio.run(stock())
    task = Task(do="race", places=places, count=REQUESTS, shoppers=8)
    one = crew.run(warden.group, task, 2, [])
    assert one.held == UNITS
    point = Point("ours", "Holdfast", "", [one], [Verdict(UNITS, UNITS, UNITS, one.held, 0)])
    assert "| Holdfast | 20 | 20 | 0 | 0 |" in tables.markdown(Section("race", [point]))


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_has_a_table_charts_that_are_xml_and_a_place_in_the_readme(name: str) -> None:
    run = crew.Run(1_000, 1_000, 0, 1.0, 0.1, 0.2, [0.5, 1.0, 20.0])
    judged = Verdict(UNITS, UNITS, UNITS, UNITS, 0)
    points = [Point(way, WAYS[way].title, "1", [run], [judged]) for way in RIVALS]
    section = Section(name, points)
    assert tables.markdown(section).startswith("| ")
    readme = (Path(bench_reserve.__file__).parent / "README.md").read_text()
    assert f"<!-- {name} -->" in readme
    for file, drawing in tables.charts(section).items():
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
        assert f"figures/{file}" in readme
