"""The catalogue that is sold."""

from pathlib import Path

import pytest

from gateway.demo.refusal import Refusal
from gateway.demo.ware import read_ware
from gateway.shows import shopify


def test_the_demos_own_catalogue_is_good_and_asks_for_nothing_from_elsewhere() -> None:
    ware = read_ware(None)
    found = shopify.read(ware.file, "USD")
    assert found.products == 8
    assert found.stock[ware.first] > 0
    assert all(entry.image is None for entry in found.entries)


def test_wrong_rows_are_named_by_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("Handle,Title,Variant Price\na,A,12\nb,,13\nc,C,free\n")
    with pytest.raises(Refusal) as refused:
        read_ware(file)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"{file} has rows that are wrong:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 3", "  line 4"]


def test_a_file_that_is_not_there_or_sells_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        read_ware(tmp_path / "none.csv")
    empty = tmp_path / "empty.csv"
    empty.write_text("Handle,Title,Variant Price\n")
    with pytest.raises(Refusal, match="no products"):
        read_ware(empty)


def test_the_show_begins_with_something_that_is_in_stock(tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text(
        "Handle,Title,Variant Price,Variant SKU,Variant Inventory Qty\n"
        "a,A,12,SKU-A,0\nb,B,13,SKU-B,2\n"
    )
    assert read_ware(file).first == "SKU-B"
