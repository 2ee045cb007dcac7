"""How sockets are read under Locust: the loop calls when something has come, and no greenlet waits.

Switching to a greenlet and back for each of thirty thousand frames a second is what a load host
would spend most of its time on. But whoever is woken by a frame must have a turn before more frames
are read: gevent gives all of them 5 ms between two rounds of reading, and in a rush, when a round
takes ten times as long, answers that had been read lay there for two seconds.
"""

import os
import ssl

import gevent

from loadtest.drop.live_socket import READ_BYTES, LiveSocket, in_a_thread

_READABLE = 1
_WOKEN_S = 0.1
"""How long the woken may take together before more is read: some thousand of them."""


def woken_go_first() -> None:
    """Have whoever was woken go on before more is read."""
    gevent.setswitchinterval(_WOKEN_S)


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
