"""A table of claims, whatever keeps it: claims that arrive together are written together.

What is durable costs a wait for a disk, or a round trip to another machine. So all claims that
arrive while a transaction is in flight go together in the next one, each with its own answer; when
the table is idle, a claim goes at once. Nothing waits for ever: a table that is silent makes claims
``Unavailable``, and too many that wait make the next one ``Overloaded``.
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.claims.sale import Sale
from gateway.errors import Overloaded, Unavailable
from gateway.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = 200
"""Sales read at once."""
_RETRY_AFTER_MS = 500
_SILENT = "The table of claims does not answer; try again."


@dataclass(frozen=True, slots=True)
class _Claim:
    """A claim that waits for its answer."""

    sale: Sale
    answer: asyncio.Future[str | None]


class TableError(Exception):
    """The table could not do it; nothing was written, or all of it was."""


class Claims(ABC):
    """Which order each unit is sold to. Every method may be repeated, by any process.

    A subclass keeps the table. Its methods may raise ``TableError``, and are cut off after
    ``claims_timeout_ms``; then the transaction is done whole or not at all, and nobody knows which,
    until it is claimed again.
    """

    def __init__(self, settings: Settings) -> None:
        self.conflicts = 0
        """Claims that were refused, because another order has a unit."""
        self._timeout_s = settings.claims_timeout_ms / 1000
        self._batch, self._queue = settings.claims_batch, settings.claims_queue
        self._waiting: deque[_Claim] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Claims that wait for the next transaction."""
        return len(self._waiting)

    async def ready(self) -> None:
        """Say that the mode is strict, and whether the table answers; a process starts all the
        same, and captures nothing until it does.
        """
        try:
            await self.shops()
        except Unavailable:
            log.warning("strict mode: %s does not answer; nothing is captured before it does", self)
        else:
            log.info("strict mode: units are claimed in %s before their money is captured", self)

    async def claim(self, sale: Sale) -> str | None:
        """Write a sale, and that each of its units is its own; all of it or nothing, durably.

        Returns:
            ``None`` when all its units are this order's, now or since before; else another order
            that has one of them: then this one must never be captured. A unit once claimed stays
            that order's for ever, also when its sale is void. Claimed again, a void sale counts
            again, for whoever claims means to capture.

        Raises:
            Unavailable: the table does not answer; it may be claimed or not. Claim again.
            Overloaded: too many claims wait.
        """
        if self._closed:
            raise Unavailable(_SILENT)
        if len(self._waiting) >= self._queue:
            raise Overloaded("Too much is going on; try again.", retry_after_ms=_RETRY_AFTER_MS)
        claim = _Claim(sale, asyncio.get_running_loop().create_future())
        self._waiting.append(claim)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        try:
            async with asyncio.timeout(self._timeout_s):
                other = await claim.answer
        except TimeoutError:
            raise Unavailable(_SILENT) from None
        self.conflicts += other is not None
        return other

    async def void(self, shop: str, order: str) -> None:
        """Note that a sale was undone: it is no sale any more, and its numbers stay taken.

        Raises:
            Unavailable: the table does not answer; it may be void or not.
        """
        await self._bounded(self._void(shop, order))

    async def has(self, shop: str, order: str) -> bool:
        """Whether an order has a sale here that is not void.

        Raises:
            Unavailable: the table does not answer.
        """
        return await self._bounded(self._has(shop, order))

    def sales(self, shop: str) -> AsyncIterator[Sale]:
        """Every sale of a shop that is not void, by its order's id, read a page at a time.

        Raises:
            Unavailable: the table does not answer.
        """
        return self._every(shop, void=False)

    def kept(self, shop: str) -> AsyncIterator[Sale]:
        """The same, with void ones, too.

        Raises:
            Unavailable: the table does not answer.
        """
        return self._every(shop, void=True)

    async def _every(self, shop: str, *, void: bool) -> AsyncIterator[Sale]:
        after = ""
        while page := await self._bounded(self._page(shop, after, PAGE, void=void)):
            for sale in page:
                yield sale
            after = page[-1].order

    async def rewrite(self, shop: str, order: str, record: bytes) -> None:
        """Keep another record of a sale; what it sold, and to which order, stays as it is.

        Raises:
            Unavailable: the table does not answer; it may be rewritten or not.
        """
        await self._bounded(self._rewrite(shop, order, record))

    async def shops(self) -> list[str]:
        """Every shop that has a sale, void ones too.

        Raises:
            Unavailable: the table does not answer.
        """
        return await self._bounded(self._shops())

    async def aclose(self) -> None:
        """Claim nothing any more; whoever waits is told ``Unavailable``."""
        if self._closed:
            return
        self._closed = True
        committing = self._committing
        if committing:
            committing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await committing
        while self._waiting:
            _fail(self._waiting.popleft())
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=self._timeout_s)
        await self._shut()

    async def _commit_all(self) -> None:
        try:
            while batch := self._next_batch():
                await self._commit(batch)
        finally:
            self._committing = None

    def _next_batch(self) -> list[_Claim]:
        """The claims that go together, in order of arrival. Two that want the same unit, and an
        order that is claimed twice, go one after the other: so each is answered by the table.
        """
        batch: list[_Claim] = []
        later: list[_Claim] = []
        taken: set[tuple[object, ...]] = set()
        while self._waiting and len(batch) < self._batch:
            claim = self._waiting.popleft()
            if claim.answer.done():
                continue
            wanted = {*claim.sale.each_unit, (claim.sale.shop, claim.sale.order)}
            (batch if taken.isdisjoint(wanted) else later).append(claim)
            taken |= wanted
        self._waiting.extendleft(reversed(later))
        return batch

    async def _commit(self, batch: list[_Claim]) -> None:
        try:
            answers = await self._bounded(self._write([claim.sale for claim in batch]))
            for claim, answer in zip(batch, answers, strict=True):
                if not claim.answer.done():
                    claim.answer.set_result(answer)
        except Unavailable:
            pass
        except Exception:
            log.exception("claims: a transaction broke")
        finally:
            for claim in batch:
                _fail(claim)

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the table, or leave it in good time.

        A driver may take its time over being cancelled, too, so that nobody waits for that.
        """
        if self._closed:
            work.close()
            raise Unavailable(_SILENT)
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task}, timeout=self._timeout_s)
            if task.done():
                return task.result()
        except TableError as error:
            log.warning("claims: %s: %s", self, error)
            raise Unavailable(_SILENT) from None
        finally:
            if not task.done():
                task.cancel()
                self._abandoned.add(task)
                task.add_done_callback(self._forget)
        log.warning("claims: %s: no answer within %.1f s", self, self._timeout_s)
        raise Unavailable(_SILENT)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # Taken note of: nobody waits for it.

    @abstractmethod
    async def _write(self, sales: Sequence[Sale]) -> Sequence[str | None]:
        """Claim sales, no two of which share a unit, in one transaction; answer in their order."""

    @abstractmethod
    async def _void(self, shop: str, order: str) -> None:
        """Mark a sale as void, if there is one."""

    @abstractmethod
    async def _has(self, shop: str, order: str) -> bool:
        """Whether there is a sale that is not void."""

    @abstractmethod
    async def _page(self, shop: str, after: str, limit: int, *, void: bool) -> list[Sale]:
        """The next sales by their order's id, with those that are void or without."""

    @abstractmethod
    async def _rewrite(self, shop: str, order: str, record: bytes) -> None:
        """Replace the record of a sale, if there is one, and leave nothing of the former."""

    @abstractmethod
    async def _shops(self) -> list[str]:
        """Every shop there is."""

    @abstractmethod
    async def _shut(self) -> None:
        """Close what is open."""


def _fail(claim: _Claim) -> None:
    if not claim.answer.done():
        claim.answer.set_exception(Unavailable(_SILENT))
