"""Who asks: the key of a shop's own program."""

from starlette.requests import Request

from gateway.errors import Forbidden
from gateway.rooms import Rooms
from gateway.tickets import SCOPES, Key, Scope
from gateway.traces import learned


def shop_with(rooms: Rooms, request: Request, scope: Scope) -> str:
    """The shop whose key the request carries; the key must open this scope.

    Raises:
        Unauthenticated: there is no key, or it is not ours.
        Forbidden: the key is good, but lacks the scope.
    """
    shop = rooms.tokens.read_key(request.headers.get("authorization"), scope).shop
    learned(shop=shop)
    return shop


def any_key(rooms: Rooms, request: Request) -> Key:
    """The key the request carries, whatever it opens.

    Raises:
        Unauthenticated: there is no key, or it is not ours.
        Forbidden: the key opens nothing.
    """
    for scope in SCOPES:
        try:
            return rooms.tokens.read_key(request.headers.get("authorization"), scope)
        except Forbidden:
            continue
    raise Forbidden("This key opens nothing.")
