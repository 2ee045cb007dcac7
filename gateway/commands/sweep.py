"""``holdfast sweep``: expires holds, finishes payments, compares the books."""

import argparse
import os

from gateway import logs, metrics, process
from gateway.environment import read
from gateway.lane import Lane
from gateway.otlp.address import open_tracer
from gateway.reconcile.reconciler import Reconciler
from gateway.rooms import of_process
from gateway.sweep import Sweep, serve


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Run the sweep until it is told to stop."""
    settings = read(os.environ, needs=("stripe_api_key",))
    logs.start(settings)
    rooms = of_process(settings, Lane(settings), open_tracer(settings, "sweep"))
    reconciler = Reconciler(rooms.settler)
    sweep = Sweep(rooms)
    metrics.serve(settings, metrics.registry_of_sweep(rooms, reconciler, sweep.jumped))
    process.run(serve(sweep, reconciler))
    return 0
