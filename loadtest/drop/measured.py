"""What a run measured: what the shoppers hand to the verdict and to the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a shopper, or one kind of push, over the whole run. Times in ms."""

    name: str
    """``ticket``, ``connect``, ``reserve``, ``release``, ``extend``, ``checkout`` (until its end is
    known), ``push stock``, ``push sold_out`` (from the server's decision until it was read)."""
    count: int
    errors: int
    """Answers that should not have been, and no answer; *sold out* is an answer."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the run, for the plots."""

    at_s: int
    """Since the run began."""
    shoppers: int
    answers: Mapping[str, int] = field(default_factory=dict)
    """How many answers each step got."""
    p99_ms: Mapping[str, float] = field(default_factory=dict)
    """By step."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run."""

    scenario: str
    began_at: float
    """Seconds since the epoch."""
    took_s: float
    shoppers: int
    """Most at once."""
    steps: Mapping[str, Step]
    said: Mapping[tuple[str, str], int]
    """Answers by step and code: ``("reserve", "ok")``, ``("reserve", "sold_out")``, …; no answer in
    time is ``timeout``, a lost connection ``disconnected``. A refused upgrade is
    ``("connect", "refused 503")``, by its status."""
    closes: Mapping[int, int]
    """Sockets that the other side closed, by close code; 1006 without one."""
    seconds: Sequence[Second]
    problems: Sequence[str] = ()
    """What went wrong with the load itself: too slow a host, workers lost. Then no verdict is
    good."""
    notes: Sequence[str] = ()
    """What a reader must know: how late this host was, how far clocks are apart."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Others that thresholds may name, with their unit: ``memory growth, %``."""

    def to_json(self) -> str:
        """Write it as one JSON object, answers as ``{step: {code: count}}``."""
        said: dict[str, dict[str, int]] = {}
        for (step, code), count in sorted(self.said.items()):
            said.setdefault(step, {})[code] = count
        return json.dumps(asdict(self) | {"said": said}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Measured":
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        said = fields.pop("said")
        return cls(
            steps={name: Step(**step) for name, step in fields.pop("steps").items()},
            said={(step, code): n for step, codes in said.items() for code, n in codes.items()},
            closes={int(code): count for code, count in fields.pop("closes").items()},
            seconds=[Second(**second) for second in fields.pop("seconds")],
            **fields,
        )
