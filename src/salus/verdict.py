"""What a guard says of inputs, and what an attacker who knows it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from salus.preprocessing import Refusal


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a guard says of N inputs.

    Attributes:
        labels: int64 ``[N]``, the class the classifier gives, whether accepted or not.
        probabilities: ``[N, K]``, softmax of its logits.
        accepted: bool ``[N]``.
        rejected_by: detector name -> bool ``[N]``.
        scores: detector name -> suspicion ``[N]``, minus log p among clean inputs of the predicted class.
        thresholds: detector name -> the suspicion above which it rejects.
    """

    labels: Tensor
    probabilities: Tensor
    accepted: Tensor
    rejected_by: dict[str, Tensor]
    scores: dict[str, Tensor]
    thresholds: dict[str, float]

    @classmethod
    def joined(cls, parts: Sequence[Verdict]) -> Verdict:
        """Put the verdicts on several batches, at least one, one after another."""
        return cls(
            labels=torch.cat([part.labels for part in parts]),
            probabilities=torch.cat([part.probabilities for part in parts]),
            accepted=torch.cat([part.accepted for part in parts]),
            rejected_by={key: torch.cat([part.rejected_by[key] for part in parts]) for key in parts[0].rejected_by},
            scores={key: torch.cat([part.scores[key] for part in parts]) for key in parts[0].scores},
            thresholds=parts[0].thresholds,
        )

    @property
    def answers(self) -> Tensor:
        """The guard's final answer, int64 ``[N]``: the label, or -1 where the input is rejected."""
        return torch.where(self.accepted, self.labels, -1)

    @property
    def suspicion(self) -> Tensor | None:
        """How far the worst detector's suspicion is above its threshold, ``[N]``; None without detectors."""
        if not self.scores:
            return None
        return torch.stack([score - self.thresholds[key] for key, score in self.scores.items()]).amax(0)


@dataclass(frozen=True, eq=False)
class View:
    """What an attacker who knows everything sees of a guard, differentiable in x.

    Attributes:
        draws: ``[M, N, K]``, the logits after each of the M equally likely outcomes of the purifier; one where it
            does not draw.
        logits: ``[N, K]``, the logarithm of the mean of their probabilities; of one draw, its logits.
        raw_logits: ``[N, K]``, before it; they decide which class the detectors judge.
        hidden: layer name -> ``[N, D]``, the states that the detectors read.
        acceptance: ``[N]``, positive where every detector accepts, whatever is drawn; None without detectors.
        class_acceptance: ``[N, K]``, the same if the classifier said each class.
        detector_acceptance: detector name -> ``[N, K]``, the same of each detector alone.
        class_scores: detector name -> ``[N, K]``, what to lower to be accepted under each class: raw scores, or a
            stand-in that has a gradient, each in units of its own.
    """

    draws: Tensor
    logits: Tensor
    raw_logits: Tensor
    hidden: Mapping[str, Tensor]
    acceptance: Tensor | None
    class_acceptance: Tensor | None
    detector_acceptance: dict[str, Tensor]
    class_scores: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a guard says of raw inputs.

    Attributes:
        verdict: on those that could be prepared, n of them; None where there are none.
        names: what the source calls each ``[n]``.
        labels: what the source says that each is ``[n]``; () where it says nothing.
        refused: inputs that could not be prepared, and why.
        notes: what was assumed.
        clipped: values that lay outside the range of training and were clipped.
    """

    verdict: Verdict | None
    names: tuple[str, ...]
    labels: tuple[str, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]
    clipped: int
