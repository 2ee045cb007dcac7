"""``holdfast demo``: a whole shop on one machine."""

from gateway.demo import add_arguments
from gateway.demo import main as run

__all__ = ["add_arguments", "run"]
