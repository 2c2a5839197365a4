"""When a request is sent again: which failures pass, how long to wait, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Annotated

from pydantic import Field

from salus.options import check_fields

#: Answers of a service that may be well again in a moment.
PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often and how long a request is tried.

    Waiting times grow exponentially and are drawn evenly from zero up to that (full jitter), so that clients that
    failed together do not come back together.

    Attributes:
        attempts: most times that one request is sent.
        first: most seconds before the second attempt; twice as many before each further one.
        longest: most seconds of one such wait.
        deadline: most seconds of a call, all attempts and waits together.

    Raises:
        OptionError: a value makes no sense.
    """

    attempts: Annotated[int, Field(ge=1, description="most times that one request is sent")] = 6
    first: Annotated[float, Field(gt=0, description="most seconds before the second attempt")] = 0.25
    longest: Annotated[float, Field(gt=0, description="most seconds of one wait")] = 20.0
    deadline: Annotated[float, Field(gt=0, description="most seconds of a call")] = 60.0

    def __post_init__(self) -> None:
        check_fields(self, "Retries")


#: One attempt, for questions whose answer is of this moment.
ONCE = Retries(attempts=1)


class RetryState:
    """One call on its way through its attempts.

    Args:
        retries: the limits.
        clock: tells the seconds.
        chance: draws from [0, 1).
    """

    def __init__(
        self,
        retries: Retries,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retries, self._clock, self._chance = retries, clock, chance
        self._ends = clock() + retries.deadline
        self.attempts = 0

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(self._ends - self._clock(), 0.0)

    def begin(self) -> None:
        """Note that the request is sent once more."""
        self.attempts += 1

    def wait(self, asked: float | None = None) -> float | None:
        """Return the seconds to wait before the next attempt; None where there is none.

        Args:
            asked: seconds that the service asks to be left alone. They are kept to, or there is no next attempt.
        """
        if self.attempts >= self._retries.attempts:
            return None
        most = min(self._retries.longest, self._retries.first * 2.0 ** (self.attempts - 1))
        pause = self._chance() * most if asked is None else asked
        return pause if pause < self.left else None


def retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> float | None:
    """Read the header ``Retry-After``: seconds, or a date; None where it says nothing that can be read."""
    if value is None:
        return None
    word = value.strip()
    if word.isascii() and word.isdigit():
        return float(word[:9])
    try:
        moment = parsedate_to_datetime(word)
    except (TypeError, ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max((moment - now()).total_seconds(), 0.0)
