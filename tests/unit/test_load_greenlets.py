"""A load host in a rush: whoever was woken by what was read goes on before more is read.

Played in a process of its own: gevent is not for the tests' process.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MANY = 300

RUSH = f"""
import os, sys, time
import gevent
from gevent.event import Event
from loadtest.drop.greenlets import woken_go_first

if sys.argv[1] == "first":
    woken_go_first()
pipes = [os.pipe() for _ in range({MANY})]
reads, woken, waited = [0] * {MANY}, [Event() for _ in pipes], []

def takes(us):
    until = time.perf_counter() + us / 1e6
    while time.perf_counter() < until:
        pass

def wait(number):
    woken[number].wait()
    takes(60)
    waited.append(reads[number] - 1)

def readable(number):
    os.read(pipes[number][0], 1)
    reads[number] += 1
    woken[number].set()
    if reads[number] < 50:
        os.write(pipes[number][1], b"x")

waiting = [gevent.spawn(wait, number) for number in range({MANY})]
gevent.sleep(0)
loop = gevent.get_hub().loop
watchers = [loop.io(read, 1) for read, _ in pipes]
for number, watcher in enumerate(watchers):
    watcher.start(readable, number)
for _, write in pipes:
    os.write(write, b"x")
gevent.joinall(waiting)
print(max(waited))
"""


def frames_read_meanwhile(order: str) -> int:
    """The most that were read of a socket between waking its shopper and his going on."""
    played = subprocess.run(
        [sys.executable, "-c", RUSH, order],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(played.stdout)


def test_whoever_was_woken_goes_on_before_more_is_read() -> None:
    assert frames_read_meanwhile("first") <= 1


def test_control_as_gevent_has_it_more_is_read_first() -> None:
    assert frames_read_meanwhile("default") > 1
