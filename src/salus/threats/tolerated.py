"""An attacker who knows the monitor, tries what it tolerates, and asks nothing else (after OARS, Feng et al., 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.attacks import draws
from salus.attacks.objective import Evaluation, Objective
from salus.attacks.search import BudgetSpent
from salus.detectors.queries import Monitor
from salus.detectors.queries.spectrum import bands, spectrum, unspectrum
from salus.threats.watched import NOTHING, Watched

#: Lengths of the noise that are tried: the first, how much longer each next one is, and how many there are.
_FIRST, _LONGER, _LENGTHS = 0.5, 1.4, 7
#: Share of the alarm that is spent, evenly over the queries.
_SPENT = 0.9


class Tolerated(Objective):
    """Shows each query to a copy of the monitor first, and sends it only as the monitor tolerates it.

    OARS (oracle-guided adaptive rejection sampling) adapts two things of an attack by trial: how far apart its queries
    lie, and, where one is refused, the draw of the proposal. This is done here for any attack alike. A query is sent
    with noise of the kind that the monitor takes for life; the noise is drawn again, and then made longer, until the
    monitor would let it pass, and the length that passed is the first that is tried next. An account that is refused
    is lost, so the trials are made on the attacker's own copy of the monitor, which is taken to be exact, memory
    included: nobody can know more.

    The suspicion that a sequential monitor allows is spent evenly over the queries.

    Args:
        watched: the guard that is asked.
        queries: that the attack plans for.
        shape: length of the noise in each band of frequencies, for a unit of its strength ``[B]``: what the attacker
            knows of life.
        seed: of the draws.
    """

    def __init__(self, watched: Watched, *, queries: int, shape: Tensor, seed: int = 0) -> None:
        self.watched, self.queries, self.noise_shape, self.seed = watched, queries, shape, seed
        self._strength = [0.0] * len(watched.x)
        self._drawn = [0] * len(watched.x)
        self.unsent = [0] * len(watched.x)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The guard's classifier."""
        return self.watched.modules

    @property
    def bounds(self) -> tuple[float, float]:
        """The value bounds of the inputs."""
        return self.watched.bounds

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Ask for points of the samples in their order; see :meth:`evaluate_of`."""
        return self.evaluate_of(x, y, torch.arange(len(x)))

    def evaluate_of(self, x: Tensor, y: Tensor, samples: Tensor) -> Evaluation:
        """Ask what passes, one query after another; what nothing makes pass is not sent, and taken for no win."""
        numbers = samples.tolist()
        if all(self.watched.over(sample) for sample in range(len(self.watched.x))):
            raise BudgetSpent
        success = torch.zeros(len(x), dtype=torch.bool)
        margin = torch.full((len(x),), NOTHING, dtype=torch.float64)
        for row, sample in enumerate(numbers):
            point = None if self.watched.over(sample) else self._dressed(x[row : row + 1], sample)
            if point is not None:
                told = self.watched.evaluate_of(point, y[row : row + 1], samples[row : row + 1])
                success[row] = told.success[0]
                if self.watched.access.scores:
                    margin[row] = told.margin[0]
        if not self.watched.access.scores:
            return Evaluation(None, y, success=success)
        return Evaluation(None, y, margin=margin, success=success)

    def _dressed(self, x: Tensor, sample: int) -> Tensor | None:
        """Find noise with which the monitor lets the query pass; None where there is none."""
        monitor = self.watched.monitor
        if monitor is None:
            return x
        caller = self.watched.account(sample)
        allowed = self._allowed(monitor, sample)
        strength = self._strength[sample] / _LONGER
        strength = strength if strength >= _FIRST else 0.0
        for _ in range(_LENGTHS):
            point = self._noisy(x, strength, sample)
            if float(monitor.peek(caller, point).max()) <= allowed:
                self._strength[sample] = strength
                return point
            strength = max(strength * _LONGER, _FIRST)
        self.unsent[sample] += 1
        return None

    def _allowed(self, monitor: Monitor, sample: int) -> float:
        alarm = self.watched.alarm
        if not monitor.sequential:
            return 0.999 * alarm
        done = (self.watched.trails[sample].queries + self.unsent[sample]) / self.queries
        return min(0.1 + _SPENT * done, 0.99) * alarm

    def _noisy(self, x: Tensor, strength: float, sample: int) -> Tensor:
        if not strength:
            return x
        self._drawn[sample] += 1
        noise = draws.normal(self.seed, torch.tensor([sample]), tuple(x.shape[1:]), (1 << 33) + self._drawn[sample])
        values = spectrum(noise)
        parts = bands(tuple(x.shape[1:]))
        for part, length in zip(parts, self.noise_shape.tolist(), strict=True):
            values[:, part] *= strength * length / values[:, part].norm(dim=1, keepdim=True).clamp_min(1e-30)
        low, high = self.bounds
        return (x + unspectrum(values, tuple(x.shape[1:])).to(x)).clamp(low, high)
