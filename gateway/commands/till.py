"""``holdfast till``: a small point of sale."""

from gateway.sandbox.till import add_arguments, run

__all__ = ["add_arguments", "run"]
