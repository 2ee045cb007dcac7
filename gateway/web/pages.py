"""Serves the page at ``/`` and its files, with the headers that keep a page to its own business."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gateway.settings import Settings

STATIC = Path(__file__).parent / "static"
_STRIPE_SCRIPT = "https://js.stripe.com"
_STRIPE_FRAMES = "https://js.stripe.com https://hooks.stripe.com"
_STRIPE_API = "https://api.stripe.com"


def routes(settings: Settings) -> list[BaseRoute]:
    """The page, its configuration and its files."""
    headers = _headers(settings)

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=headers)

    async def config(_: Request) -> Response:
        content = {
            "show": settings.show,
            "sandbox_url": settings.stripe_url,
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
    """What the page may load and talk to: us, the payment provider, and images by https."""
    script, frame, connect = "'self'", "'none'", "'self' ws: wss:"
    if settings.stripe_publishable_key:
        script += f" {_STRIPE_SCRIPT}"
        frame = _STRIPE_FRAMES
        connect += f" {_STRIPE_API}"
    if settings.stripe_url:
        connect += f" {settings.stripe_url}"
    policy = (
        f"default-src 'none'; script-src {script}; style-src 'self'; frame-src {frame}; "
        f"img-src 'self' https: data:; media-src 'self' https:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
