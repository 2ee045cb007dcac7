"""Who took the cores during a load test."""

import os
import subprocess
import sys
import time

from loadtest.child import cpu_s
from loadtest.spent import Cores, loaded_s


def test_a_line_says_who_took_how_much_the_most_first() -> None:
    told = Cores(began_s=time.monotonic() - 10, busy_s=0.0).told({"a": 1.2, "b": 5.6})
    assert told.startswith(f"CPU seconds in 10 s of {os.cpu_count()} cores: b 6, a 1; others on")


def test_what_is_ours_is_not_others() -> None:
    before = Cores()
    assert before.told({"us": 1e9}).endswith("others on this machine 0")
    ended = loaded_s()
    subprocess.run([sys.executable, "-c", "sum(range(100_000))"], check=True)
    assert loaded_s() > ended
    assert cpu_s(os.getpid()) > 0
