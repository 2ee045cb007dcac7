"""The words of HTML, and nothing but the words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shows.plain_text import one_line, plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("plain words", "plain words"),
        ("<p>Classic blown clay pot</p>", "Classic blown clay pot"),
        ("<p>One</p>\n\n<p>Two<br/>Three</p>", "One\nTwo\nThree"),
        ("<ul><li>cotton</li><li>wool</li></ul>", "cotton\nwool"),
        ("very <b>so</b>ft", "very soft"),
        ("salt &amp; pepper &eacute;&#233;&#xE9; &nbsp;", "salt & pepper ééé"),
        ("&lt;b&gt; is a tag", "<b> is a tag"),
        ("a < b, c > d", "a < b, c > d"),
        ('<img alt="a > b" src=x>after', "after"),
        ("<script>alert('<p>no</p>')</script>yes", "yes"),
        ("<STYLE>p { }</STYLE >yes<script>never closed", "yes"),
        ("a<!-- hidden <b> -->b<!-- never closed", "ab"),
        ("<![if !mso]>Word<![endif]><?xml version='1'?>", "Word"),
        ("cut off <a href='", "cut off"),
        ("bell\x07 and &#7; NUL \x00", "bell and NUL"),
        ("&#" + "9" * 5000 + ";", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_only_words_are_left(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    "bit",
    [
        "<",
        "<!",
        "<!--",
        "<a",
        "<a ",
        "</",
        "<?",
        '<a b="',
        "<script>",
        "<script></",
        "&#",
        "<a =",
        "&",
    ],
)
def test_hostile_markup_is_read_in_one_pass(bit: str) -> None:
    # With time quadratic in the length, each of these would take minutes.
    plain_text(bit * (200_000 // len(bit)))


@given(st.text(st.sampled_from("<>!-[]/?&#;x9aps'\" =\n\0") | st.characters(codec="utf-8")))
def test_any_markup_gives_clean_lines(markup: str) -> None:
    lines = plain_text(markup).split("\n")
    assert lines == [""] or all(line and line == one_line(line) for line in lines)
