"""How long the command line takes to say what it can do; apart from other tests, which would be timed with it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def test_help_is_quick() -> None:
    """A generous limit for a busy machine; `make bench` reports the figure itself."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "layerbench", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    assert statistics.median(times) < 1.0
