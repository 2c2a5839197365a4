"""Slows down whoever guesses at the login."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from salus.serve.dashboard.refusals import Refused

#: Failures of one address that cost nothing; each one after doubles the wait, up to the longest.
_FREE, _LONGEST = 5, 30.0

#: Seconds after the last failure in which an address is forgotten.
_FORGOTTEN = 600.0

#: Addresses that are remembered.
_MOST = 1024


@dataclass
class _Failures:
    count: int
    last: float


class Attempts:
    """Counts failed logins of each address, in this process.

    Args:
        clock: counts seconds, never back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Refuse an address that failed too often lately.

        Raises:
            Refused: for some seconds more.
        """
        with self._lock:
            failures = self._failures.get(address)
            if failures is None or failures.count < _FREE:
                return
            wait = min(_LONGEST, 2.0 ** (failures.count - _FREE)) - (self._clock() - failures.last)
        if wait > 0:
            raise Refused(
                429,
                "Too many tries",
                f"Signing in failed {failures.count} times from here; wait {wait:.0f} seconds and try again.",
                wait=max(1, round(wait)),
            )

    def failed(self, address: str) -> None:
        """Count a failure."""
        with self._lock:
            now = self._clock()
            before = self._failures.pop(address, None)
            count = 0 if before is None or now - before.last > _FORGOTTEN else before.count
            self._failures[address] = _Failures(count + 1, now)
            while len(self._failures) > _MOST:
                self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Forget an address's failures."""
        with self._lock:
            self._failures.pop(address, None)
