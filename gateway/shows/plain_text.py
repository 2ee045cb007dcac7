"""The words of an HTML description, for clients that must never interpret a shop's markup.

Not ``html.parser``: on unclosed tags its time grows with the square of the length, and 20,000
characters of ``<a`` took it 6 s. Here every construct ends at its end or at the end of the text,
as a browser has it, so that each character is looked at once.
"""

import html
import re

_MARKUP = re.compile(
    r"""
    <!--.*?(?:-->|\Z)
    | <(?P<unseen>script|style|template|title)\b.*?(?:</(?P=unseen)[^>]*(?:>|\Z)|\Z)
    | </?(?P<tag>[a-z][a-z0-9]*)(?:[^>"']|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))*+(?:>|\Z)
    | <[!?/][^>]*(?:>|\Z)
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)

# fmt: off
_BREAKING = frozenset([
    "address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "h1",
    "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section",
    "table", "td", "th", "tr", "ul",
])
# fmt: on

_ENDLESS_REFERENCE = re.compile(r"&#x?[0-9a-f]{9,};?", re.IGNORECASE)
"""A numeric character reference beyond any character; ``html.unescape`` raises on some."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def plain_text(markup: str) -> str:
    """Turn HTML into lines of text: no tags, scripts, comments, entities or control characters.

    What was ``&lt;b&gt;`` comes out as ``<b>``: the result is text, to be shown as text.
    """
    text = _MARKUP.sub(_spacing, " ".join(markup.split()))
    text = html.unescape(_ENDLESS_REFERENCE.sub("\N{REPLACEMENT CHARACTER}", text))
    return "\n".join(filter(None, map(one_line, text.split("\n"))))


def one_line(text: str) -> str:
    """The text on one line: no control characters, and single spaces for all white space."""
    return " ".join(_CONTROL.sub("", text).split())


def _spacing(markup: re.Match[str]) -> str:
    return "\n" if (markup["tag"] or "").lower() in _BREAKING else ""
