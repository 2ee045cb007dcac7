"""All ways, by the names the figures use."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from loadtest.ways import Opener, Options, Places, Way, counters, gateway, postgres, redlock

REDLOCK_TTL_S = 0.1
REDLOCK_PAUSE_S = 0.15


@dataclass(frozen=True, slots=True)
class Entry:
    """A way, what it is called, and what it is told."""

    title: str
    opener: Opener
    options: Options = field(default_factory=dict)
    needs_postgres: bool = False
    oversells: bool = False
    """It is here to show that it does."""

    def open(self, places: Places, options: Options) -> AbstractAsyncContextManager[Way]:
        """Connect it."""
        return self.opener(places, self.options | options)


WAYS: dict[str, Entry] = {
    "ours": Entry("Holdfast, group commit", gateway.group_commit),
    "script_each": Entry("the same script, one EVALSHA each", gateway.script_each),
    "watch": Entry("WATCH/MULTI", counters.watched),
    "redlock": Entry("Redlock, one server", redlock.redlock),
    "redlock_3": Entry("Redlock, three servers", redlock.redlock, {"servers": 3}),
    "row_lock": Entry("Postgres row lock, BEGIN … COMMIT", postgres.row_lock, needs_postgres=True),
    "row_lock_async": Entry(
        "Postgres row lock, synchronous_commit off",
        postgres.row_lock,
        {"synchronous": 0},
        needs_postgres=True,
    ),
    "row_call": Entry(
        "Postgres row lock, one call", postgres.row_lock_in_one_call, needs_postgres=True
    ),
    "row_call_async": Entry(
        "Postgres row lock, one call, synchronous_commit off",
        postgres.row_lock_in_one_call,
        {"synchronous": 0},
        needs_postgres=True,
    ),
    "skip_locked": Entry(
        "Postgres SKIP LOCKED, a row per unit",
        postgres.skip_locked,
        # Nobody waits for a row here, and more connections share each fsync.
        {"pool": 32},
        needs_postgres=True,
    ),
    "naive": Entry("GET, then DECR", counters.naive, oversells=True),
    "redlock_paused": Entry(
        "Redlock, a holder in 5 paused for 1.5 × its TTL",
        redlock.redlock,
        {"ttl_s": REDLOCK_TTL_S, "pause_s": REDLOCK_PAUSE_S, "pause_every": 5},
        oversells=True,
    ),
    "sale": Entry("Holdfast, up to the sale", gateway.sale),
}
