"""Peak memory of one call (Linux): what this process holds, watched while the call runs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

# memory that is freed goes back at once, so that the peak is what is held and not what was
PLAIN = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}


def resident() -> int:
    """Bytes this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak(run: Callable[[], object]) -> int:
    """Peak resident bytes of a call above those before it."""
    before, most, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        run()
    finally:
        done.set()
        thread.join()
    return max(most, resident()) - before


def in_child(*words: object) -> int:
    """The last line that a script prints, a number, in a process of its own that gives back what is freed."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        env={**os.environ, **PLAIN},
    )
    return int(done.stdout.strip().splitlines()[-1])
