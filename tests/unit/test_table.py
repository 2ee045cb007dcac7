"""CSV to rows: lines counted as an editor counts them, and everything wrong named."""

import pytest

from gateway.shows import table
from gateway.shows.table import Findings, Row, read_rows


def read(text: str | bytes, *required: str) -> tuple[list[Row], list[tuple[int, str]]]:
    findings = Findings()
    rows = list(read_rows(text, required, findings))
    return rows, [(error.line, error.code) for error in findings.errors]


def test_cells_are_found_by_column_whatever_its_case() -> None:
    [row], errors = read("Handle, Variant SKU \npot,  A-1 \n")
    assert (row["handle"], row["Variant Sku"], row["Nothing"]) == ("pot", "A-1", "")
    assert errors == []


def test_a_row_is_named_by_its_first_line_in_the_file() -> None:
    rows, _ = read('H,T\na,"one\ntwo\r\nthree"\r\n\n   \nb,x\rc,y\n')
    assert [(row.line, row["H"]) for row in rows] == [(2, "a"), (7, "b"), (8, "c")]
    assert rows[0]["T"] == "one two three"


def test_line_separators_inside_a_cell_do_not_count_as_lines() -> None:
    rows, _ = read("H\na\u2028\x0bb\nc\n")
    assert [(row.line, row["H"]) for row in rows] == [(2, "a b"), (3, "c")]


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfH\nx\n", "\ufeffH\nx\n", b"H\nx\n", "H\nx"])
def test_a_byte_order_mark_makes_no_difference(text: str | bytes) -> None:
    assert [row["H"] for row in read(text, "H")[0]] == ["x"]


def test_of_two_columns_of_one_name_the_first_counts() -> None:
    assert read("H,h\nfirst,second\n")[0][0]["H"] == "first"


def test_empty_cells_may_be_missing_or_too_many_at_the_end_but_not_full_ones() -> None:
    rows, errors = read("H,T\na\nb,x,,\nc,x,,surplus\n")
    assert [row["H"] for row in rows] == ["a", "b"]
    assert errors == [(4, "malformed_csv")]


def test_every_missing_column_is_named() -> None:
    findings = Findings()
    assert list(read_rows("\nA,B\n1,2\n", ("A", "C", "D"), findings)) == []
    assert [(e.line, e.code, e.message) for e in findings.errors] == [
        (2, "missing_column", "The file has no column C."),
        (2, "missing_column", "The file has no column D."),
    ]
    assert read("", "A") == ([], [(1, "missing_column")])


def test_after_a_malformed_row_reading_goes_on() -> None:
    rows, errors = read('H\n"a"b\nc\n"d"e\nf\n"never closed\ng\n')
    assert [row["H"] for row in rows] == ["c", "f"]
    assert errors == [(2, "malformed_csv"), (4, "malformed_csv"), (6, "malformed_csv")]


def test_a_nul_is_refused() -> None:
    assert read("H\na\0b\nc\n")[1] == [(2, "bad_text")]


@pytest.mark.parametrize(
    ("raw", "line"), [(b"H\nx\n\xe9t\xe9\n", 3), ("H\nx".encode("utf-16"), 1), ("H\n\ud800", 2)]
)
def test_what_is_not_utf8_is_refused_at_its_line(raw: str | bytes, line: int) -> None:
    assert read(raw) == ([], [(line, "not_utf8")])


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_ROWS", 2)
    assert read("H\na\nb\n")[1] == []
    rows, errors = read("H\na\nb\nc\nd\n")
    assert ([row["H"] for row in rows], errors) == (["a", "b"], [(4, "too_large")])
    assert read("H\na\n\n\n\n")[1] == [(4, "too_large")]
    monkeypatch.setattr(table, "MAX_BYTES", 4)
    assert read("H\nabc") == ([], [(1, "too_large")])


def test_after_an_endless_cell_nothing_is_guessed() -> None:
    rows, errors = read(f'H\na\n"{"x" * (table.MAX_CELL + 1)}\nb\n"\nc\n')
    assert ([row["H"] for row in rows], errors) == (["a"], [(3, "too_long")])
