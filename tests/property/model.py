"""What the stock scripts must do, in plain Python: the yardstick they are held against."""

from dataclasses import dataclass, field

LIMITS = {"cap": 3}
"""Units one shopper may have."""
MOST_HOLDS = 3
"""Active holds one shopper may have."""
EDGES = {
    "paying": {"declined", "voiding"},
    "voiding": {"voided"},
    "committed": {"captured"},
}
FUTURE_S = 1_000
"""A time no clock shows yet; all others are past."""


@dataclass(frozen=True)
class Want:
    """A reservation: its lines, by sku, no sku twice."""

    shopper: str
    key: str
    lines: tuple[tuple[str, int], ...]
    pickup: str | None = None


@dataclass(frozen=True)
class Move:
    """What the physical world reports."""

    kind: str
    sku: str
    location: str
    quantity: int
    at_s: int


@dataclass
class Row:
    """Quantities of one sku at one location."""

    on_hand: int = 0
    safety_stock: int = 0
    held: int = 0
    committed: int = 0
    next_unit: int = 1
    counted_s: int = 0

    @property
    def available(self) -> int:
        return self.on_hand - self.safety_stock - self.held - self.committed

    @property
    def free(self) -> int:
        return max(0, self.available)


@dataclass
class Hold:
    """A hold, and what is known of its payment."""

    want: Want
    taken: list[tuple[Row, str, int]]
    state: str = "active"
    lapsed: bool = False
    phase: str = ""
    attempt: int = 0
    token: str = ""

    def units(self, sku: str) -> int:
        return sum(units for _, name, units in self.taken if name == sku)


@dataclass
class Model:
    """A shop. Every method answers with the word a client would hear."""

    version: int = 0
    stock: dict[str, dict[str, Row]] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    moves: dict[str, tuple[Move, str]] = field(default_factory=dict)

    def units(self, shopper: str, sku: str) -> int:
        """What counts towards the limit of a shopper."""
        return sum(
            hold.units(sku)
            for hold in self.holds.values()
            if hold.want.shopper == shopper
            and hold.state in {"active", "committed"}
            and hold.phase != "failed"
        )

    def active(self, shopper: str) -> int:
        mine = (hold for hold in self.holds.values() if hold.want.shopper == shopper)
        return sum(hold.state == "active" for hold in mine)

    def on_sale(self, sku: str, location: str | None = None) -> int:
        rows = self.stock.get(sku, {}).items()
        return sum(row.free for place, row in rows if location in {None, place})

    def reserve(self, group: list[Want]) -> list[str]:
        """Decide reservations that came in one call."""
        before = len(self.holds)
        answers = [self._reserve(want) for want in group]
        self.version += len(self.holds) > before
        return answers

    def _reserve(self, want: Want) -> str:
        known = self.holds.get((want.shopper, want.key))
        if known:
            return known.state if known.want == want else "idempotency_key_reused"
        if self.active(want.shopper) >= MOST_HOLDS:
            return "limit_exceeded"
        for sku, units in want.lines:
            if sku in LIMITS and self.units(want.shopper, sku) + units > LIMITS[sku]:
                return "limit_exceeded"
            if (left := self.on_sale(sku, want.pickup)) < units:
                return f"sold_out {sku} {left}"
        self.holds[want.shopper, want.key] = Hold(want, self._take(want))
        return "active"

    def _take(self, want: Want) -> list[tuple[Row, str, int]]:
        taken = []
        for sku, wanted in want.lines:
            left = wanted
            for place, row in self.stock[sku].items():
                if want.pickup in {None, place} and (units := min(left, row.free)):
                    row.held += units
                    left -= units
                    taken.append((row, sku, units))
        return taken

    def extend(self, shopper: str, owner: str, key: str) -> str:
        hold = self.holds.get((owner, key))
        if not hold or shopper != owner:
            return "not_found"
        return _ended(hold.state) or ("hold_expired" if hold.lapsed else "active")

    def release(self, shopper: str, owner: str, key: str) -> str:
        hold = self.holds.get((owner, key))
        if not hold or shopper != owner:
            return "not_found"
        if hold.state == "active":
            self._end(hold, "released")
            self.version += 1
        return "released" if hold.state == "released" else _ended(hold.state)

    def sweep(self) -> int:
        """Expire what is due, in one call."""
        due = [h for h in self.holds.values() if h.lapsed and h.state == "active"]
        for hold in due:
            self._end(hold, "expired")
        self.version += bool(due)
        return len(due)

    def _end(self, hold: Hold, state: str) -> None:
        hold.state = state
        for row, _, units in hold.taken:
            row.held -= units
        hold.phase = {"paying": "voiding", "declined": "voided"}.get(hold.phase, hold.phase)

    def begin(self, shopper: str, owner: str, key: str, token: str) -> str:
        hold = self.holds.get((owner, key))
        if not hold or shopper != owner:
            return "not_found"
        if hold.state == "committed":
            return "ordered"
        if hold.state != "active":
            return _ended(hold.state)
        if hold.phase == "paying":
            return "ordered" if token == hold.token else "completion_in_progress"
        if hold.phase == "declined" and token == hold.token:
            return "ordered"  # and nothing begins
        if hold.phase == "voiding":
            return "completion_in_progress"
        if hold.lapsed:
            return "hold_expired"
        hold.phase, hold.attempt, hold.token = "paying", hold.attempt + 1, token
        return "ordered"

    def commit(self, hold: Hold, attempt: int) -> str:
        if hold.phase in {"committed", "captured"}:
            return "committed"
        if hold.phase != "paying" or attempt != hold.attempt:
            return "refused"
        hold.state = hold.phase = "committed"
        for row, _, units in hold.taken:
            row.held -= units
            row.committed += units
            row.next_unit += units
        self.version += 1
        return "committed"

    def move_order(self, hold: Hold, phase: str, attempt: int) -> bool:
        if attempt != hold.attempt or phase not in EDGES.get(hold.phase, set()) | {hold.phase}:
            return False
        hold.phase = phase
        return True

    def fail(self, hold: Hold) -> bool:
        """The money cannot be had: back on sale, unless it was handed over already."""
        if hold.phase == "committed":
            hold.phase = "failed"
            for row, _, units in hold.taken:
                row.committed -= min(units, row.committed)
            self.version += 1
        return hold.phase == "failed"

    def report(self, batch: list[tuple[str, Move]]) -> list[tuple[str, int]]:
        """Apply movements; each answers its status and what its sku then has, shortfalls too."""
        answers = []
        for reference, move in batch:
            status = self._repeated(reference, move) or self._apply(reference, move)
            answers.append((status, sum(r.available for r in self.stock[move.sku].values())))
        self.version += any(status == "applied" for status, _ in answers)
        return answers

    def _repeated(self, reference: str, move: Move) -> str | None:
        if reference not in self.moves:
            return None
        known, status = self.moves[reference]
        if known != move:
            return "idempotency_key_reused"
        return "duplicate" if status == "applied" else "superseded"

    def _apply(self, reference: str, move: Move) -> str:
        places = self.stock.setdefault(move.sku, {})
        row = places.get(move.location, Row())
        late = move.at_s <= row.counted_s
        if move.kind == "fulfilled" and move.quantity > row.committed:
            return "invalid"
        status = "applied"
        if move.kind == "fulfilled":
            row.committed -= move.quantity
            row.on_hand -= 0 if late else move.quantity
        elif move.kind == "safety_stock":
            row.safety_stock = move.quantity
        elif late:
            status = "superseded"
        elif move.kind == "counted":
            row.on_hand, row.counted_s = move.quantity, min(move.at_s, FUTURE_S - 1)
        else:
            row.on_hand += move.quantity
        if status == "applied":
            places[move.location] = row
        self.moves[reference] = (move, status)
        return status


def _ended(state: str) -> str:
    return {
        "committed": "hold_already_committed",
        "released": "hold_already_released",
        "expired": "hold_expired",
    }.get(state, "")
