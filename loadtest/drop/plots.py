"""The plots of a run: shoppers, answers, how long they took, how old pushes were, stock left."""

from collections.abc import Sequence

from loadtest.chart import Curve, over_time
from loadtest.drop.books import Books
from loadtest.drop.measured import Measured

_POINTS = 240
"""Most points of a curve; of more seconds the worst of each bin is shown."""
_COLOURS = 5
_STEPS = ("reserve", "checkout", "connect", "ticket", "release")
"""The steps that are drawn if there are more than there are colours."""


def plots(measured: Measured, books: Books) -> dict[str, str]:
    """SVG by name."""
    took_s = max(1.0, measured.took_s)
    steps = _drawn([name for name in measured.steps if not name.startswith("push")])
    pushes = [name for name in measured.steps if name.startswith("push")][:_COLOURS]
    shoppers = _binned([(one.at_s, float(one.shoppers)) for one in measured.seconds], took_s)
    drawn = {
        "shoppers": over_time(
            "Shoppers", "Connected or on their way, by second.", took_s,
            [Curve("shoppers", shoppers, 0)],
        ),
        "answers": over_time(
            "Answers a second", "By step; sold out is an answer, too.", took_s,
            _counts(measured, steps),
        ),
        "latency": over_time(
            "How long answers took", "p99 of each second in ms, by step.", took_s,
            _worst(measured, steps), log=True,
        ),
        "staleness": over_time(
            "How old pushes were", "p99 of each second in ms: from Redis' decision until a "
            "shopper had read it.", took_s,
            _worst(measured, pushes), log=True,
        ),
    }  # fmt: skip
    if books.left:
        drawn["stock"] = over_time(
            "Stock left", "Units on sale by the ledger: not held, not sold.", took_s,
            _stock(books, took_s),
        )  # fmt: skip
    return drawn


def _drawn(steps: Sequence[str]) -> list[str]:
    if len(steps) <= _COLOURS:
        return list(steps)
    return [name for name in _STEPS if name in steps]


def _counts(measured: Measured, names: Sequence[str]) -> list[Curve]:
    """Where nothing was answered is nothing."""
    curves = []
    for colour, name in enumerate(names):
        spots = [(one.at_s, float(one.answers.get(name, 0))) for one in measured.seconds]
        curves.append(Curve(name, _binned(spots, measured.took_s), colour))
    return curves


def _worst(measured: Measured, names: Sequence[str]) -> list[Curve]:
    """p99, where there was anything."""
    curves = []
    for colour, name in enumerate(names):
        spots = [(one.at_s, one.p99_ms[name]) for one in measured.seconds if name in one.p99_ms]
        curves.append(Curve(name, _binned(spots, measured.took_s), colour))
    return curves


def _stock(books: Books, took_s: float) -> list[Curve]:
    """The skus with the most to sell; what came after the run is not shown."""
    most = sorted(books.started, key=lambda sku: -books.started[sku])[:_COLOURS]
    curves = []
    for colour, sku in enumerate(most):
        spots = [(at_s, float(left.get(sku, 0))) for at_s, left in books.left if at_s <= took_s]
        curves.append(Curve(sku, _thinned(spots, took_s), colour))
    return curves


def _binned(spots: Sequence[tuple[float, float]], took_s: float) -> list[tuple[float, float]]:
    """The worst of each bin, where there are more seconds than points."""
    width = max(1.0, took_s / _POINTS)
    worst: dict[int, tuple[float, float]] = {}
    for at_s, value in spots:
        number = int(at_s / width)
        if number not in worst or value > worst[number][1]:
            worst[number] = (at_s, value)
    return [worst[number] for number in sorted(worst)]


def _thinned(spots: Sequence[tuple[float, float]], took_s: float) -> list[tuple[float, float]]:
    """The last of each bin: a level stays what it was until it changes."""
    width = took_s / _POINTS
    last = {int(at_s / width): (at_s, value) for at_s, value in spots}
    steps: list[tuple[float, float]] = []
    for number in sorted(last):
        at_s, value = last[number]
        if steps:
            steps.append((at_s, steps[-1][1]))
        steps.append((at_s, value))
    if steps:
        steps.append((took_s, steps[-1][1]))
    return steps
