"""The interpreter's own numbers, and which version of Holdfast runs."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector


class _Build(Collector):
    def collect(self) -> Iterable[Metric]:
        """One series, whose label is the version."""
        yield InfoMetricFamily("holdfast_build", "What runs.", {"version": _version()})


def registry_of_process(own: Collector) -> CollectorRegistry:
    """A registry of the interpreter's numbers, the version, and what a process tells of its own."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    made.register(_Build())
    made.register(own)
    return made


def _version() -> str:
    try:
        return version("holdfast")
    except PackageNotFoundError:
        return "unknown"  # It runs from a checkout that is not installed.
