"""What a crowd of viewers can be told: each struct is one line of JSON, named by ``do``."""

from msgspec import Struct


class OfSome(Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower):
    """About viewers ``first`` to ``first + count``, or about all."""

    first: int = 0
    count: int | None = None


class Open(OfSome, frozen=True, kw_only=True):
    """Connect ``count`` viewers, from number ``first`` on, to the addresses in turn.

    Answers once each was let in, refused or lost: {``in``, ``refused``, ``failed``, ``took_s``,
    ``errors``}, the last with those of before.
    """

    urls: list[str]
    """``host:port`` of gateways."""
    shop: str
    show: str
    secret: str
    """The gateway's own, to sign the tickets with."""
    in_flight: int = 500
    """Connecting at once."""
    deaf: bool = False
    """Never read anything after the upgrade."""
    receive_buffer: int | None = None
    """SO_RCVBUF, bytes, for those who are to stop reading."""
    sample: int = 0
    """Every so manieth viewer writes down when each stock frame came; 0: none."""
    resume: bool = False
    """Say the last stock that the viewer of the same number knew."""
    shopper: str | None = None
    """One name for all of them; otherwise each has its own."""
    within_s: float = 30.0
    """For one viewer to be let in."""


class Pause(OfSome, frozen=True):
    """Stop reading."""


class Resume(OfSome, frozen=True):
    """Read again."""


class Say(OfSome, frozen=True, kw_only=True):
    """Send a text frame."""

    text: str


class Leave(OfSome, frozen=True, kw_only=True):
    """Close with a code, or cut the connection when it is null; answers when all are gone."""

    code: int | None = 1000
    within_s: float = 10.0


class Tell(OfSome, frozen=True):
    """What they met so far: the fields of ``Counts``, and ``cpu_s``, ``lag_ms`` of this process.

    ``lag_ms`` is the worst since it was last told: the crowd was the bottleneck if it is large.
    """


class Ends(OfSome, frozen=True):
    """How each ended: [[number, code, when, when it was told to drain], …], s since the epoch."""


class Stocks(OfSome, frozen=True):
    """What they show: [[epoch, version, items, how many show just this], …], most first."""


class Ports(OfSome, frozen=True):
    """The ports their connections come from, so that a gateway's end can be found."""


class Watching(OfSome, frozen=True):
    """How many they were told are watching: {number: how many say so}."""


class Zeros(OfSome, frozen=True, kw_only=True):
    """When each open viewer was told that a sku is sold out; null for who was not."""

    sku: str


class Listen(OfSome, frozen=True, kw_only=True):
    """Write down when Redis decided each version, from a subscription of one's own."""

    redis_url: str
    shop: str


class Staleness(OfSome, frozen=True):
    """How old news was when the sampled viewers got it: {``count``, ``p50_ms``, … ``max_ms``}.

    Each version counts once for each of them: from the moment the script decided it until a frame
    came that held it or something later. ``unknown`` counts those nobody heard decided.
    """


class Forget(OfSome, frozen=True):
    """Begin to count, and to sample, anew."""


Command = (
    Open | Pause | Resume | Say | Leave | Tell | Ends | Stocks | Ports
    | Watching | Zeros | Listen
    | Staleness | Forget
)  # fmt: skip
