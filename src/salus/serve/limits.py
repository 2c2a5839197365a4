"""How fast a token may ask, and how many bytes of requests may be in hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from salus.serve.problems import ProblemDetailsError


class Rates:
    """A bucket for each token, that fills at its rate (token bucket).

    Args:
        rate: inputs a second; None for any number.
        burst: inputs that it holds when full.
        clock: tells the seconds.

    Attributes:
        workers: among how many the rate is shared out, as each has buckets of its own.
    """

    def __init__(self, rate: float | None, *, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(max(burst, 1)), clock
        self.workers = 1
        self._buckets: dict[str, tuple[float, float]] = {}  # token -> what is left, and when

    def charge(self, token: str, inputs: int) -> None:
        """Take from a token's bucket.

        Raises:
            ProblemDetailsError: there is not enough in it.
        """
        if self._rate is None:
            return
        now, own = self._clock(), self._rate / max(1, self.workers)
        left, since = self._buckets.get(token, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - since) * own)
        if left < inputs:
            self._buckets[token] = (left, now)
            raise ProblemDetailsError(
                "too-many",
                f"The token may ask about {self._rate:g} inputs a second; wait before asking about {inputs} more.",
                (inputs - left) / own,
            )
        self._buckets[token] = (left - inputs, now)


class Room:
    """Bounds the bytes of requests that are read or wait, all together.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = 0

    @contextmanager
    def reserved(self) -> Iterator[Callable[[int], None]]:
        """Reserve room for one request; what is called takes more of it, all is given back at the end."""
        mine = 0

        def take(more: int) -> None:
            nonlocal mine
            if self.taken + more > self._size:
                raise ProblemDetailsError(
                    "too-many", "Too many large requests are in hand; try again a little later.", 1
                )
            self.taken += more
            mine += more

        try:
            yield take
        finally:
            self.taken -= mine
