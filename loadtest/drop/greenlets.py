"""How a socket is read under Locust: the loop calls when something has come, and no greenlet waits.

Switching to a greenlet and back for each of thirty thousand frames a second is what a load host
would spend most of its time on.
"""

import os
import ssl

import gevent

from loadtest.drop.live_socket import READ_BYTES, LiveSocket, in_a_thread

_READABLE = 1


def by_the_loop(live: LiveSocket) -> None:
    """Have a socket read whenever something has come."""
    connection = live.socket.sock
    if connection is None or isinstance(connection, ssl.SSLSocket):
        # What is decrypted already is not seen by the loop.
        in_a_thread(live)
        return
    descriptor = connection.fileno()
    watcher = gevent.get_hub().loop.io(descriptor, _READABLE)
    # The loop must not wait; whatever might, does so in a greenlet.
    live.aside = gevent.spawn

    def readable() -> None:
        try:
            goes_on = live.open and live.feed(os.read(descriptor, READ_BYTES))
        except BlockingIOError:
            return
        except (OSError, ValueError):
            goes_on = False
        if not goes_on:
            stop()
            live.ended()

    def stop() -> None:
        if watcher.active:
            watcher.stop()
            watcher.close()

    live.unwatch = stop
    watcher.start(readable)
