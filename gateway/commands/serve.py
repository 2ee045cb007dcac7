"""``holdfast serve``: the gateway."""

import argparse
import os

from gateway import app, process
from gateway.environment import read


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Run the gateway until it is told to stop."""
    process.log_to_stderr()
    app.serve(read(os.environ))
    return 0
