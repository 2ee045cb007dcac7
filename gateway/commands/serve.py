"""``holdfast serve``: the gateway."""

import argparse
import os

from gateway import app, logs
from gateway.environment import read


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Run the gateway until it is told to stop."""
    settings = read(os.environ)
    logs.start(settings)
    app.serve(settings)
    return 0
