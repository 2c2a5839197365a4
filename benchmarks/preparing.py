"""How fast raw things become x: mitdb read cold, all skin lesions decoded; on how many cores, in how much memory.

Each is done in a process of its own with an empty cache. Needs SALUS_DATA with mitdb and ham10000.

    python benchmarks/preparing.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

#: What is loaded, and the limits: seconds, and GiB of memory at the peak.
CASES = {
    "mitdb": ({}, 15.0, 3.0),
    "ham10000": ({"size": 64}, None, 3.0),
    "ham10000, as they are": ({}, None, 3.0),
}

SCRIPT = """
import json, os, resource, sys, time
from salus.data import load
name, options = sys.argv[1], json.loads(sys.argv[2])
wall, before = time.perf_counter(), os.times()
splits = load(name, **options)
seconds, after = time.perf_counter() - wall, os.times()
cpu = after.user + after.system - before.user - before.system
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps([sum(len(data) for _, data in splits), seconds, cpu, peak]))
"""


def main() -> int:
    """Print a line a case; return 1 where a limit is broken."""
    broken = False
    for title, (options, most_seconds, most_memory) in CASES.items():
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT, title.partition(",")[0], json.dumps(options)],
                env={**os.environ, "SALUS_CACHE": cache},
                capture_output=True,
                text=True,
                check=True,
            )
        count, seconds, cpu, peak = json.loads(done.stdout.splitlines()[-1])
        late = (most_seconds is not None and seconds > most_seconds) or peak > most_memory
        broken |= late
        print(
            f"{title}: {count:,} samples in {seconds:.1f} s on {cpu / seconds:.1f} cores, {peak:.2f} GiB at the peak"
            + (f" (limits: {most_seconds or '–'} s, {most_memory} GiB){' BROKEN' if late else ''}")
        )
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
