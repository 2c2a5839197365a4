"""Attacks of ``salus.attacks`` on whole recordings: the two-lead signal is the one sample, in millivolts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from salus.attacks.apgd import dlr
from salus.attacks.base import Attack
from salus.attacks.objective import Evaluation, Objective, logit_margin
from salus.classifier import Classifier
from salus.errors import OptionError
from salus.preprocessing import RawRecording
from salus.threats.voltage import AttackedRecording, Voltage

#: What each loss is of one beat: logits ``[B, K]`` and right classes ``[B]`` to ``[B]``.
_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": lambda logits, y: nn.functional.cross_entropy(logits.double(), y, reduction="none"),
    "dlr": lambda logits, y: dlr(logits, logit_margin(logits, y), targeted=False),
}
#: How much the smoothed share counts beside the share itself: it decides between points at which as many are lost.
_SMOOTH = 1e-2


@dataclass(frozen=True, kw_only=True)
class RecordingSearch:
    """An attack in L-infinity that reads loss and margin alone, with a whole recording as its sample.

    What it raises is the mean loss of the beats that are answered rightly, every class counting the same; its margin is
    the share of them that still stand, and between points at which as many stand the smoothed share of
    :meth:`salus.threats.voltage.Voltage.share`. So ``RecordingSearch(attack=APGD(eps=0.03, early_stop=False))`` is
    Auto-PGD on the voltage, within 30 microvolts.

    Attributes:
        attack: with an eps in mV; its bounds give way to the signal's own, which never bind.
        loss: cross-entropy, or difference of logits ratio (Croce and Hein, 2020), of a beat.

    Raises:
        OptionError: the attack has no eps, or a target, or another norm.
    """

    attack: Attack
    loss: Literal["ce", "dlr"] = "ce"

    def __post_init__(self) -> None:
        if self.attack.eps is None or self.attack.targeted or self.attack.norm != "linf":
            raise OptionError(
                f"{self.attack.title} on a recording: give it an eps in mV, no target and the norm linf, which are all "
                "that there is here."
            )
        if self.loss not in _LOSSES:
            raise OptionError(f"Option loss must be one of {', '.join(_LOSSES)}, not {self.loss!r}.")

    @property
    def eps(self) -> float:
        """Largest change, in mV."""
        return self.attack.radius

    def __call__(self, classifier: Classifier, recording: RawRecording, labels: Tensor) -> AttackedRecording:
        """Attack every beat of a recording.

        Args:
            classifier: knows how recordings are prepared.
            recording: at 360 Hz, with its R peaks in order ``[P]``.
            labels: the right class of each beat ``[P]``; -1 for those that nobody asks about.

        Raises:
            DataError: the classifier takes no recordings, or this one has no R peaks, or not in order, or another rate.
        """
        voltage = Voltage(classifier, recording, labels)
        if not voltage.any_right:
            return voltage.unchanged()
        x = torch.stack([voltage.clean[lead].nan_to_num(0.0) for lead in voltage.leads])[None]  # [1, L, T]
        reach = float(x.abs().max()) + self.eps
        attack = replace(self.attack, bounds=(-reach, reach))
        x_adv = attack(_WholeRecording(voltage, x, self.loss), x, torch.zeros(1, dtype=torch.int64))
        return voltage.judged(voltage.changed(voltage.recording, (x_adv - x)[0]))


class _WholeRecording(Objective):
    """The goal of losing the beats of a recording ``[1, L, T]``; won where none is left."""

    def __init__(self, voltage: Voltage, x: Tensor, loss: str) -> None:
        self.voltage, self.clean, self.loss_of = voltage, x, _LOSSES[loss]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The network."""
        return (self.voltage.classifier.module,)

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Ask about all beats of each point ``[A, L, T]``."""
        losses, margins, won = [], [], []
        for point, clean in zip(x, self.clean.expand_as(x), strict=True):
            disturbed = self.voltage.changed(self.voltage.recording, point - clean)
            logits, rows = self.voltage.logits(disturbed)
            right = self.voltage.labels[rows]
            weight, leads = self.voltage.weights(right), logit_margin(logits, right)
            losses.append((weight * self.loss_of(logits, right)).sum())
            standing = (weight * (leads > 0)).sum()
            margins.append(standing - _SMOOTH * self.voltage.share(leads, right))
            won.append(standing <= 0)
        return Evaluation(None, y, loss=torch.stack(losses), margin=torch.stack(margins), success=torch.stack(won))
