"""``make soak``: run the fuzzed tests with their full counts and whatever is marked ``soak``, and keep the result.

Further words are pytest's, such as ``-k ball``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import pytest

from salus.storage import versions

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "soak.json"


class Outcomes:
    """Counts how tests ended, and names those that failed and files that could not be read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Name a file that could not be read."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: when it was called, or where it never came so far or its fixtures broke afterwards."""
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.failed:
            self.failed.append(report.nodeid)


def main() -> int:
    """Run and write; return what pytest returns."""
    outcomes, begin = Outcomes(), time.monotonic()
    what = ["-m", "soak or hypothesis", "--hypothesis-profile=soak", str(ROOT / "tests")]
    code = pytest.main(["-n", "2", "--dist", "worksteal", *what, *sys.argv[1:]], plugins=[outcomes])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        from hypothesis import settings  # after pytest, which wants to be the first to import its plugins

        result = {
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "narrowed_by": sys.argv[1:],
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            "versions": versions(),
            "real_data": "SALUS_DATA" in os.environ,
            "seconds": round(time.monotonic() - begin),
            "most_examples_a_fuzzed_test": settings.get_profile("soak").max_examples,
            **{name: outcomes.counts[name] for name in ("passed", "failed", "skipped")},
            "failures": sorted(set(outcomes.failed)),
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
