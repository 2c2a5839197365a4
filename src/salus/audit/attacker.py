"""How a cell's samples are attacked: a part of them at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from salus.attacks.universal import UAP
from salus.audit.bare import BareResults
from salus.audit.cell import Attempt
from salus.audit.duration import CellWatch
from salus.batches import rows_held
from salus.data import Dataset
from salus.data.packed import take
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats import AttackedSamples, Samples
from salus.threats.engines import changed


class Attacker:
    """Attacks samples a part at a time.

    What an attacker finds for a sample depends on the samples beside it in two cases alone: a universal perturbation
    is fitted once, to samples of its own; and what hidden states each class has (feature matching) is seen in as many
    clean samples as make a part, evenly spaced, or in all where they are one part.

    Args:
        data: what is attacked.
        guard: the guard that will judge.
        attempt: the attack, and what its attacker knows.
        watch: told how far it is.
        bare: what the attack that the attacker begins with has come to; None where they run it themselves.

    Raises:
        OptionError: a universal perturbation has no samples to be fitted to, or is to reach a class and none is named.
    """

    def __init__(
        self, data: Dataset, guard: Guard, attempt: Attempt, watch: CellWatch, bare: BareResults | None = None
    ) -> None:
        self.guard, self.attempt, self.watch, self.bare = guard, attempt, watch, bare
        self.count = len(data)
        self.part = rows_held(data.x, attempt.attack.batch_size)
        self.device = data.y.device
        self.universal: Callable[[Samples], AttackedSamples] | None = None
        if isinstance(attempt.attack, UAP):
            self.universal = self._fitted(attempt.attack)
        self.shown: Tensor | None = None
        if attempt.threat.knows_guard and self.part < self.count:
            evenly = torch.arange(self.part, device=data.x.device) * self.count // self.part
            self.shown = take(data.x, evenly)

    def parts(self) -> Iterator[Tensor]:
        """Give the positions of the samples of each part, int64 ``[n]``."""
        yield from torch.arange(self.count, device=self.device).split(self.part)

    def __call__(self, x: Tensor, aim: Tensor, truth: Tensor | None, rows: Tensor) -> AttackedSamples:
        """Attack a part of the samples.

        Args:
            x: clean samples ``[n, ...]``.
            aim: their labels, or what the attack aims for ``[n]``.
            truth: true labels where ``aim`` are targets.
            rows: their positions among all samples ``[n]``.
        """
        samples = Samples(x, aim, truth, rows, self.shown, None if self.bare is None else self.bare(rows))
        if self.universal is not None:
            attacked = self.universal(samples)
            self.watch.finished(len(rows))
            return attacked
        attack = self.attempt.attack

        def tried(name: str, standing: int) -> None:
            self.watch.tried(name, standing, len(rows))

        if attack.time_limit is not None and len(rows) < self.count:
            attack = changed(attack, time_limit=attack.time_limit * len(rows) / self.count)
        return self.attempt.threat.attack(attack, self.guard, samples, tried=tried, done=self.watch.finished)

    def _fitted(self, attack: UAP) -> Callable[[Samples], AttackedSamples]:
        """Fit one perturbation, or one for each variant, to samples that the cell is not judged on."""
        fit, target = self.attempt.fit, self.attempt.target
        if fit is None:
            raise OptionError("A universal perturbation is fitted to samples of its own: give the attempt some.")
        aim = fit.y
        if attack.targeted:
            if target is None:
                raise OptionError("A targeted UAP needs one class to aim for: name it by --target.")
            aim = torch.full_like(aim, target)
        return self.attempt.threat.fit(attack, self.guard, fit.x, aim)
