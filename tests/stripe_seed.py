"""Thousands of PaymentIntents in a sandbox's file, written as the sandbox itself would write them.

Through HTTP each costs 1.5 to 3 ms, so that 10,000 take half a minute; here they take four seconds:

    path = str(tmp_path / "money.db")
    ids = seed(path, 10_000, lambda n: {"shop": "s", "order": f"o{n}"})
    async with serving(Settings(data=path, per_endpoint=0, per_account=0)) as url: ...

Every intent has its charge and its events. Nobody is told of them: no webhook waits.
"""

import random
import time
from collections.abc import Callable
from contextlib import closing

from gateway.sandbox.stripe import objects
from gateway.sandbox.stripe.acquirer import Acquirer
from gateway.sandbox.stripe.bench import Bench
from gateway.sandbox.stripe.cards import TEST_METHODS
from gateway.sandbox.stripe.events import Journal
from gateway.sandbox.stripe.faults import FaultPlan, Faults
from gateway.sandbox.stripe.ids import Ids
from gateway.sandbox.stripe.instruments import card_method
from gateway.sandbox.stripe.store import Store


def seed(
    path: str,
    count: int,
    metadata: Callable[[int], dict[str, str]] = lambda _: {},
    *,
    amount: int = 1250,
    currency: str = "usd",
    captured: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Add `count` intents, authorized or `captured`; their ids, oldest first.

    `metadata` is asked for the notes of the n-th. May be called while a sandbox has the file open.
    """
    dice = random.SystemRandom()
    with closing(Store(path)) as store:
        ids = Ids(dice)
        bench = Bench(store, ids, clock, Journal(store, ids, clock, delivered=False))
        acquirer = Acquirer(bench, Faults(FaultPlan(), dice))
        with store.transaction():
            visa = store.add(card_method(ids.new("pm"), TEST_METHODS["pm_card_visa"], bench.now()))
            made = []
            for number in range(count):
                given = {
                    "amount": amount,
                    "currency": currency,
                    "capture_method": "automatic" if captured else "manual",
                    "allowed_payment_method_types": ["card"],
                    "metadata": metadata(number),
                }
                identifier = ids.new("pi")
                intent = objects.payment_intent(
                    identifier, ids.secret(identifier), bench.now(), given
                )
                acquirer.approve(store.add(intent), visa)
                made.append(identifier)
        bench.journal.close()
        return made
