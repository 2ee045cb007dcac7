"""What the physical world reports: receipts, walk-in sales, counts, returns, hand-overs."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.clock import parse_rfc3339
from gateway.errors import HoldfastError, Invalid, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, pairs
from gateway.model import Movement
from gateway.scripts import load
from gateway.settings import Settings
from gateway.stock import rows

MAX_BATCH = 500
"""Most movements of one request."""
_LEAST = {"received": 1, "returned": 1, "fulfilled": 1, "counted": 0, "safety_stock": 0}


class MovementResult(Struct, frozen=True, omit_defaults=True):
    """What became of one movement; ``available`` is the sku's, negative when short."""

    reference_id: str
    status: Literal["applied", "duplicate", "superseded", "error"]
    code: str | None = None
    message: str | None = None
    available: int | None = None


class StockLine(Struct, frozen=True):
    """The quantities of one sku at one location; ``shortfall`` is promised but not there."""

    sku: str
    location: str
    on_hand: int
    safety_stock: int
    held: int
    committed: int
    available: int
    shortfall: int


class _Move(Struct, frozen=True, omit_defaults=True):
    reference_id: str
    kind: str
    sku: str
    location: str
    quantity: int
    at: int
    source: str
    fingerprint: str
    reason: str | None = None
    initial: bool = False


@dataclass(frozen=True, slots=True)
class Movements:
    """Applies movements and reads the stock, for any shop of this Redis."""

    lane: Lane
    settings: Settings

    async def apply(
        self, shop: str, batch: tuple[Movement, ...], *, initial: bool = False
    ) -> tuple[MovementResult, ...]:
        """Apply a batch; each movement has its own result, and one that is wrong spoils no other.

        With ``initial`` a movement counts only where the sku has no stock yet, which makes
        importing a catalogue again harmless.

        Raises:
            Invalid: the batch is too large, or names a reference twice.
            Unavailable: Redis does not answer, or too few replicas have it; send it again.
        """
        if len(batch) > MAX_BATCH:
            raise Invalid(f"Send at most {MAX_BATCH} movements at once.")
        if len({movement.reference_id for movement in batch}) < len(batch):
            raise Invalid("A reference_id appears twice in this batch.")
        results: dict[str, MovementResult] = {}
        moves: list[_Move] = []
        for movement in batch:
            try:
                moves.append(_move(movement, initial=initial))
            except HoldfastError as error:
                results[movement.reference_id] = MovementResult(
                    movement.reference_id, "error", code=error.code, message=error.message
                )
        for result in await self._run(shop, moves):
            results[result.reference_id] = result
        return tuple(results[movement.reference_id] for movement in batch)

    async def _run(self, shop: str, moves: list[_Move]) -> list[MovementResult]:
        if not moves:
            return []
        keys = ShopKeys(shop)
        names = [keys.meta, keys.stock, keys.ledger, keys.news]
        names += [keys.movement(move.reference_id) for move in moves]
        durable = await self.lane.call_durably(
            load("stock_move"),
            names,
            (msgspec.json.encode(moves), self.settings.movement_retention_days * 86_400_000),
        )
        if durable.replicas < self.settings.wait_replicas:
            # Told that it is applied, a till would never report again what a failover has lost.
            raise Unavailable("What was reported is not safe yet; send it again.")
        return [_result(move, *reply) for move, reply in zip(moves, durable.reply, strict=True)]

    async def available(self, shop: str) -> dict[str, int]:
        """Units of every sku that viewers see."""
        packed = pairs(await self.lane.command("HGETALL", ShopKeys(shop).stock))
        return {sku: rows.on_sale(rows.decode(row)) for sku, row in packed.items()}

    async def lines(self, shop: str) -> tuple[StockLine, ...]:
        """Every quantity, by sku and location."""
        packed = pairs(await self.lane.command("HGETALL", ShopKeys(shop).stock))
        return tuple(
            _line(sku, row)
            for sku, packed_rows in sorted(packed.items())
            for row in rows.decode(packed_rows)
        )


def _move(movement: Movement, *, initial: bool) -> _Move:
    least = _LEAST.get(movement.kind)
    if least is not None and movement.quantity < least:
        raise Invalid(f"The quantity of {movement.kind} is at least {least}.")
    if movement.kind == "adjusted" and movement.quantity == 0:
        raise Invalid("An adjustment of 0 changes nothing.")
    try:
        at = parse_rfc3339(movement.occurred_at)
    except ValueError:
        raise Invalid("occurred_at must be a time with its zone, in RFC 3339.") from None
    # An import repeated is the same import, though it happens at another time.
    content = b"initial" if initial else msgspec.json.encode(movement)
    return _Move(
        reference_id=movement.reference_id,
        kind=movement.kind,
        sku=movement.sku,
        location=movement.location,
        quantity=movement.quantity,
        at=at,
        source=movement.source,
        fingerprint=hashlib.sha256(content).hexdigest()[:16],
        reason=movement.reason,
        initial=initial,
    )


def _result(move: _Move, status: bytes, available: bytes) -> MovementResult:
    units = int(available)
    match status.decode():
        case "APPLIED":
            return MovementResult(move.reference_id, "applied", available=units)
        case "DUPLICATE":
            return MovementResult(move.reference_id, "duplicate", available=units)
        case "SUPERSEDED":
            return MovementResult(move.reference_id, "superseded", available=units)
        case "KEY_REUSED":
            code, message = "idempotency_key_reused", "This reference_id came with other content."
        case "NOT_COMMITTED":
            code, message = "invalid", "More was handed over than was sold here."
        case word:
            raise AssertionError(f"stock_move said {word}")
    return MovementResult(move.reference_id, "error", code=code, message=message, available=units)


def _line(sku: str, row: rows.Row) -> StockLine:
    return StockLine(
        sku=sku,
        location=row.location,
        on_hand=row.on_hand,
        safety_stock=row.safety_stock,
        held=row.held,
        committed=row.committed,
        available=row.available,
        shortfall=max(0, -row.available),
    )
