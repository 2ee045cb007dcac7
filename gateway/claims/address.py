"""Which table of claims the settings name, and its driver only where it is wanted."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.claims.table import Claims
from gateway.settings import Settings, SettingsError


def open_claims(settings: Settings) -> Claims | None:
    """The table of ``claims_url``, or ``None`` where the mode is not strict.

    It connects, and makes its tables, when it is asked first; close it.

    Raises:
        SettingsError: its driver is not installed.
    """
    if not settings.claims_url:
        return None
    parts = urlsplit(settings.claims_url)
    if parts.scheme == "sqlite":
        from gateway.claims.sqlite import SqliteClaims  # noqa: PLC0415 (only where it is wanted)

        return SqliteClaims(Path(unquote(parts.path)), settings)
    try:
        from gateway.claims.postgres import PostgresClaims  # noqa: PLC0415 (only where wanted)
    except ImportError:
        raise SettingsError(
            "HOLDFAST_CLAIMS_URL names Postgres, whose driver is not installed: "
            "pip install 'holdfast[strict]'."
        ) from None
    return PostgresClaims(settings.claims_url, settings)
