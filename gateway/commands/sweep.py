"""``holdfast sweep``: expires holds, finishes payments, compares the books."""

import argparse
import os

from gateway import logs, process
from gateway.environment import read
from gateway.lane import Lane
from gateway.metrics.serving import Health, answering, listen
from gateway.metrics.sweep import registry_of_sweep
from gateway.otlp.address import open_tracer
from gateway.readiness import Readiness
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import of_process
from gateway.settings import Settings
from gateway.sweep import Sweep, serve


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Run the sweep until it is told to stop."""
    settings = read(os.environ, needs=("stripe_api_key",))
    logs.start(settings)
    process.run(_sweep(settings))
    return 0


async def _sweep(settings: Settings) -> None:
    rooms = of_process(settings, Lane(settings), open_tracer(settings, "sweep"))
    sweep, reconciler = Sweep(rooms), Reconciler(rooms.settler)
    health = Health(
        registry_of_sweep(sweep, reconciler),
        sweep.pulse,
        Readiness(
            *(rooms.lane, rooms.durability, rooms.clock, rooms.payments.provider, rooms.recovery)
        ),
    )
    async with answering(listen(settings), health):
        await serve(sweep, reconciler)
