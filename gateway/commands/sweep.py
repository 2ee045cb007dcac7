"""``holdfast sweep``: expires holds, finishes payments, compares the books."""

import argparse
import os
import random

from gateway import metrics, process, sweep
from gateway.checkout.payment import Payments
from gateway.claims.address import open_claims
from gateway.clock import SystemClock
from gateway.lane import Lane
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import join
from gateway.settings import read


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Run the sweep until it is told to stop."""
    process.log_to_stderr()
    settings = read(os.environ, needs=("stripe_api_key",))
    lane = Lane(settings)
    rooms = join(
        settings,
        SystemClock(),
        random.SystemRandom(),
        lane,
        Payments(settings, lane, SystemClock()),
        open_claims(settings),
    )
    reconciler = Reconciler(rooms.settler)
    metrics.serve(settings, metrics.registry_of_sweep(reconciler))
    process.run(sweep.serve(rooms, reconciler))
    return 0
