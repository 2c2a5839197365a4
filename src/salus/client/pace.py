"""A limit of inputs a second that is kept to."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Pace:
    """Lets inputs go so that in no second there are more of them than the rate allows.

    Args:
        rate: inputs a second; None for as many as go. Below 1 it is one input in so many seconds.
        clock: tells the seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        #: Inputs that may go together; None for any number.
        self.most = None if rate is None else max(int(rate), 1)
        self._window = 1.0 if rate is None else max(1.0, 1.0 / rate)
        self._gone: deque[tuple[float, int]] = deque()  # when how many went, within the last window

    def take(self, count: int) -> None:
        """Wait until so many inputs may go, at most :attr:`most`."""
        if self.most is None:
            return
        room = self.most - sum(amount for _, amount in self._gone)
        while self._gone and (room < count or self._gone[0][0] + self._window <= self._clock()):
            when, amount = self._gone.popleft()
            if (wait := when + self._window - self._clock()) > 0:
                self._sleep(wait)
            room += amount
        self._gone.append((self._clock(), count))
