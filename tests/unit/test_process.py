"""How many files a process may open, tried in a process of its own."""

import subprocess
import sys

SCRIPT = """
import resource
from gateway.process import allow_files

resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400))
print(allow_files(100), allow_files(300), allow_files(250), allow_files(1_000))
"""


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes_and_never_lowered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["200", "300", "300", "400"], "")
