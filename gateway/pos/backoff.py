"""How long to wait before trying again. Pure."""

import random
from email.utils import parsedate_to_datetime

FIRST_S = 1.0
"""The first pause; each further one is twice as long."""

_MAX_DOUBLINGS = 30


def delay_s(attempt: int, cap_s: float, rng: random.Random) -> float:
    """Seconds to wait after the ``attempt``-th failure in a row, counted from 1.

    Half of it is by chance, so that what failed together does not come back together.
    """
    full = min(cap_s, FIRST_S * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
    return full * rng.uniform(0.5, 1.0)


def retry_after_s(header: str | None, now_ms: int) -> float | None:
    """Read a ``Retry-After`` header, seconds or a date; ``None`` if there is none to obey."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now_ms / 1000) if moment.tzinfo else None
