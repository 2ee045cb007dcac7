"""Serves the page at ``/`` and its files, with the headers that keep a page to its own business."""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gateway.environment import listed
from gateway.settings import Settings, socket_origin

STATIC = Path(__file__).parent / "static"
_STRIPE_SCRIPT = "https://js.stripe.com"
_STRIPE_FRAMES = "https://js.stripe.com https://hooks.stripe.com"
_STRIPE_API = "https://api.stripe.com"
_UNUSED_POWERS = "camera=(), display-capture=(), geolocation=(), microphone=(), usb=()"
_A_YEAR_S = 31_536_000
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
"""A ``Host`` that can be repeated in a policy: it comes from whoever asks."""


def routes(settings: Settings) -> list[BaseRoute]:
    """The page, its configuration and its files."""
    headers = _headers(settings)

    async def page(request: Request) -> Response:
        policy = _policy(settings, request.headers.get("host", ""))
        own = headers | {"Content-Security-Policy": policy}
        return FileResponse(STATIC / "index.html", headers=own)

    async def config(_: Request) -> Response:
        content = {
            "show": settings.show,
            "sandbox_url": _sandbox(settings),
            "publishable_key": settings.stripe_publishable_key or None,
        }
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    return [
        Route("/", page, methods=["GET", "HEAD"]),
        Route("/config.json", config, methods=["GET", "HEAD"]),
        Mount("/static", _Files(directory=STATIC)),
    ]


class _Files(StaticFiles):
    """Static files that browsers check for a newer version each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _headers(settings: Settings) -> dict[str, str]:
    """What does not depend on who asks: the page is framed, and its powers used, by few."""
    stripe = f' "{_STRIPE_SCRIPT}"' if settings.stripe_publishable_key else ""
    headers = {
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        # Some banks ask in a window of their own, which has to report back.
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
        "Permissions-Policy": f"{_UNUSED_POWERS}, payment=(self{stripe})",
    }
    if settings.page_url.startswith("https:"):
        headers["Strict-Transport-Security"] = f"max-age={_A_YEAR_S}"
    return headers


def _policy(settings: Settings, host: str) -> str:
    """What the page may load and talk to: us, the payment provider, and images by https.

    The socket is named besides ``'self'``, which some browsers take for HTTP alone. Who may open
    sockets from pages of their own may frame this one, too.
    """
    script, frame, connect = "'self'", "'none'", f"'self'{_sockets(settings, host)}"
    if settings.stripe_publishable_key:
        script += f" {_STRIPE_SCRIPT}"
        frame = _STRIPE_FRAMES
        connect += f" {_STRIPE_API}"
    if sandbox := _sandbox(settings):
        connect += f" {sandbox}"
    framing = " ".join(("'self'", *listed(settings.allowed_origins)))
    return (
        f"default-src 'none'; script-src {script}; style-src 'self'; frame-src {frame}; "
        f"img-src 'self' https: data:; media-src 'self' https:; connect-src {connect}; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {framing}"
    )


def _sandbox(settings: Settings) -> str | None:
    """Where the page pays without money; ``None`` where money is real."""
    return settings.stripe_url and (settings.sandbox_url or settings.stripe_url)


def _sockets(settings: Settings, host: str) -> str:
    """Where the page's socket may be: as the settings say, else where the page was asked for.

    A proxy may have ended TLS without saying so, and the page knows better than we.
    """
    if settings.public_url:
        return f" {socket_origin(settings.public_url)}"
    return f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
