"""How likely a guard is to answer each sample rightly, wrongly, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from salus.guard import Guard
from salus.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Odds:
    """The probabilities of what a guard makes of N samples; zeros and ones where it draws nothing.

    Attributes:
        right: float64 ``[N]``, accepted and right.
        rejected: float64 ``[N]``.
    """

    right: Tensor
    rejected: Tensor

    @classmethod
    def seen(cls, verdict: Verdict, y: Tensor) -> Odds:
        """Take a verdict for all that could be said."""
        return cls((verdict.answers == y).double(), (~verdict.accepted).double())

    @classmethod
    def expected(cls, chances: Tensor, y: Tensor) -> Odds:
        """Take what :meth:`Guard.chances` tells, ``[N, K]``."""
        return cls(chances.gather(1, y[:, None])[:, 0], (1 - chances.sum(1)).clamp_min(0))

    @classmethod
    def on(cls, guard: Guard, x: Tensor, y: Tensor, verdict: Verdict) -> Odds:
        """Ask a guard that draws for its chances on x ``[N, ...]``; of another one the verdict says all."""
        return cls.expected(guard.chances(x), y) if guard.random else cls.seen(verdict, y)

    @property
    def fallen(self) -> Tensor:
        """Accepted and wrong, float64 ``[N]``."""
        return (1 - self.right - self.rejected).clamp_min(0)
