"""The log lines of a process: one an event, on standard error, for people or as JSON.

Every line carries the ids that are known where it is written: of the request, session, shop, hold,
order and trace. Who the shopper is stands in none of them. As a last line of defence, what looks
like a secret, a shopper's token, an e-mail address or a card number is blotted out, whoever wrote
the line: we, a library, or a traceback.
"""

import logging
import random
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from textwrap import indent
from types import TracebackType
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from gateway import traces
from gateway.cards import holds_card_number, without_card_numbers
from gateway.clock import rfc3339
from gateway.settings import HIDDEN, Settings

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_BLOT = "[redacted]"
_LEAST = 4
"""Characters of a password we look for; shorter ones are part of any text."""

_SHAPES = re.compile(
    r"""
    (?<![\w-])eyJ[\w-]{6,}+(?:\.[\w-]*+){1,2}            # a token: a ticket, or a program's key
    | \b(?:pi|seti)_[A-Za-z0-9]+_secret_[A-Za-z0-9]+     # lets a page pay
    | \b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]+             # Stripe's keys
    | \bwhsec_[A-Za-z0-9+/=_-]+                          # signs webhooks
    | (?<=://)[^\s/@:'"]*+:[^\s/@'"]++(?=@)              # user and password of an address
    | (?<![\w.+%-])[\w.+%-]++@[\w-]++(?:\.[\w-]++)++     # an e-mail address
    """,
    re.VERBOSE,
)

REQUEST_ID = "X-Request-ID"
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""Without digits an id is never taken for a card number."""


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
"""Would begin a line that nobody wrote, or steer the terminal of who reads it."""
_CONTROLS_WITHIN = {code: text for code, text in _CONTROLS.items() if code != ord("\n")}


def request_id_of(headers: Mapping[str, str], rng: random.Random) -> str:
    """The id of a request: the one its caller gave, if it is sane, else one of ours."""
    given = headers.get(REQUEST_ID, "")
    if _SANE_ID.fullmatch(given) and not holds_card_number(given):
        return given
    return f"{rng.getrandbits(80):020x}".translate(_LETTERS)


def start(settings: Settings) -> None:
    """Send the log lines of this process to standard error, as the settings say.

    What the libraries say at INFO stays out, for it may hold addresses with what clients put into
    them. An error that ends the process is a line like any other.
    """
    handler = logging.StreamHandler(sys.stderr)
    shape = JsonLines if settings.log_format == "json" else TextLines
    handler.setFormatter(shape(Redaction(secrets_of(settings))))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("gateway").setLevel(logging.INFO)
    sys.excepthook = _fatal


def _fatal(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("gateway").critical("the process ends", exc_info=(kind, error, trace))


def secrets_of(settings: Settings) -> Iterator[str]:
    """Every text of the settings that nobody may read; of an address that is its password."""
    for name in (*HIDDEN, "otlp_url"):
        text = getattr(settings, name) or ""
        if name.endswith("_url"):
            yield from _passwords(urlsplit(text))
        else:
            yield text
    yield from (one.strip() for one in settings.stripe_webhook_secret.split(","))


def _passwords(address: SplitResult) -> Iterator[str]:
    """As they are written there, and as they are meant."""
    written = [address.password or ""]
    for pair in address.query.split("&"):
        name, _, value = pair.partition("=")
        written += [value] if "password" in name else []
    for password in written:
        yield from (password, unquote(password))


class Redaction:
    """Blots out secrets: those it is given, and whatever has the shape of one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= _LEAST}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, text: str) -> str:
        """The text without them."""
        text = _SHAPES.sub(_BLOT, self._known.sub(_BLOT, text))
        return without_card_numbers(text, _BLOT)

    def __repr__(self) -> str:
        return "Redaction(***)"


def known() -> Mapping[str, str]:
    """The ids of where we are."""
    here = traces.here()
    return {**traces.ids(), "trace": here.trace_id} if here else traces.ids()


class TextLines(logging.Formatter):
    """Lines for people; the ids stand at the end."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redact = redact

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        """One line, before the traceback that may follow, whatever others had us say."""
        record.message = record.message.translate(_CONTROLS)
        said = super().formatMessage(record)
        words = " ".join(f"{name}={value}" for name, value in known().items())
        return f"{said} [{words}]" if words else said

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 (the library's name)
        """A traceback, set in: of what an error says no line is to be taken for one of ours."""
        return indent(super().formatException(ei).translate(_CONTROLS_WITHIN), "    ")

    def format(self, record: logging.LogRecord) -> str:
        """What is written of a record."""
        return self._redact(super().format(record))


class JsonLines(logging.Formatter):
    """An object a line; a traceback is text within it."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """What is written of a record."""
        line = {
            "time": rfc3339(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
            **{name: self._redact(value) for name, value in known().items()},
        }
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self._redact(record.stack_info)
        return msgspec.json.encode(line).decode()
