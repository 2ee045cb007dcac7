"""Requests that are wrong as HTTP: all are ``invalid``, each with a status of its own."""

from gateway.errors import Invalid


class BadRequest(Invalid):
    """This is not HTTP."""

    status = 400


class TooSlow(Invalid):
    """The request did not arrive in time."""

    status = 408


class HeadTooLarge(Invalid):
    """The head of the request is larger than we read."""

    status = 431


class NotJson(Invalid):
    """The body is not JSON at all."""

    status = 400


class NoKey(Invalid):
    """The request needs an ``Idempotency-Key``."""

    status = 400


class TooLarge(Invalid):
    """The body is larger than we read; fact: ``limit``, in bytes."""

    status = 413


class WrongMediaType(Invalid):
    """The body is not of the type that is asked for."""

    status = 415
