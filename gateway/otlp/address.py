"""What begins the spans of a process, as the settings say."""

from gateway.settings import Settings, SettingsError, variable
from gateway.traces import Tracer


def open_tracer(settings: Settings, service: str) -> Tracer:
    """A tracer for a process of ours; it makes no spans unless there is a collector. Close it.

    Raises:
        SettingsError: there is one, and what talks to it is not installed.
    """
    if not settings.otlp_url:
        return Tracer()
    try:
        from gateway.otlp.sdk import exporting  # noqa: PLC0415 (only where it is wanted)
    except ImportError:
        raise SettingsError(
            f"{variable('otlp_url')} names a collector, and what sends spans is not installed: "
            "pip install 'holdfast[otel]'."
        ) from None
    return exporting(settings, settings.otlp_url, service)
