"""How long ``import salus`` takes in a fresh process, and whether it loads what it should not."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys

LIMIT = 2.0  # seconds
REPEATS = 5
HEAVY = ("imblearn", "matplotlib", "pandas", "scipy", "sklearn", "torchvision", "wfdb")
CODE = f"""
import sys, time
start = time.perf_counter()
import salus
print(time.perf_counter() - start, *(name for name in {HEAVY!r} if name in sys.modules))
"""


def main() -> int:
    """Print the median over several processes; return 1 where it is above the limit."""
    command = [sys.executable, "-c", CODE]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(REPEATS)]
    seconds = statistics.median(float(run[0]) for run in runs)
    loaded = sorted({name for run in runs for name in run[1:]})
    print(f"Python {platform.python_version()}, {REPEATS} processes")
    print(f"import salus: {seconds:.3f} s (limit {LIMIT:g} s); heavy libraries loaded: {loaded or 'none'}")
    return int(seconds > LIMIT or bool(loaded))


if __name__ == "__main__":
    sys.exit(main())
