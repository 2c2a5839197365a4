"""What a guard said of one input, in plain values, and of which guard it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from salus.verdict import Judgement

#: What nobody told the guard, and no document of its verdict may make up.
LEFT_OUT = (
    "Of whom the input is, who ordered it and when it was recorded the guard does not know; what is not given here was "
    "left out. The classes are the classifier's own words, no codes of a terminology. No person has reviewed this."
)


@dataclass(frozen=True)
class Finding:
    """What a guard said of one input.

    Attributes:
        name: what the source calls the input.
        outcome: ``accepted``, ``rejected`` or ``not judged``.
        label: the class; None unless accepted.
        probabilities: class -> probability; {} unless accepted.
        suspicions: detector -> its suspicion, which may be NaN or infinite.
        thresholds: detector -> the suspicion above which it rejects.
        rejected_by: the detectors that rejected.
        reason: why it was not judged; "" otherwise.
    """

    name: str
    outcome: str
    label: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    suspicions: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rejected_by: tuple[str, ...] = ()
    reason: str = ""

    @property
    def said(self) -> str:
        """The outcome in a sentence."""
        if self.outcome == "accepted":
            return f"The guard accepted the input and answers {self.label}."
        if self.outcome == "rejected":
            by = f" ({', '.join(self.rejected_by)})" if self.rejected_by else ""
            return f"The guard rejected the input as suspicious{by} and gives no answer."
        return f"The input could not be judged: {self.reason or 'no reason was given'}."


@dataclass(frozen=True)
class Origin:
    """Who said it.

    Attributes:
        guard: the guard's name.
        bundle: SHA-256 of the guard, or "".
        software: of Salus, with its version.
    """

    guard: str
    bundle: str = ""
    software: str = "Salus"

    @property
    def words(self) -> str:
        """Name it in a line."""
        return f"{self.software}, guard {self.guard}" + (f", bundle {self.bundle}" if self.bundle else "")


def findings_of(judgement: Judgement, classes: Sequence[str]) -> Iterator[Finding]:
    """Take a judgement apart, input by input, those that were not judged last.

    Args:
        judgement: what ``Guard.judge`` returns.
        classes: names of the classifier's classes, in the order of its logits.
    """
    verdict = judgement.verdict
    if verdict is not None:
        labels, accepted = verdict.labels.tolist(), verdict.accepted.tolist()
        probabilities = verdict.probabilities.tolist()
        scores = {key: values.tolist() for key, values in verdict.scores.items()}
        rejects = {key: flags.tolist() for key, flags in verdict.rejected_by.items()}
        for row, name in enumerate(judgement.names):
            yield Finding(
                name,
                "accepted" if accepted[row] else "rejected",
                classes[labels[row]] if accepted[row] else None,
                dict(zip(classes, probabilities[row], strict=True)) if accepted[row] else {},
                {key: values[row] for key, values in scores.items()},
                dict(verdict.thresholds),
                tuple(key for key, flags in rejects.items() if flags[row]),
            )
    for refusal in judgement.refused:
        yield Finding(refusal.name, "not judged", reason=refusal.reason)


def absence_of(value: float) -> str | None:
    """Name why a number cannot be written, in HL7's words for absent data; None where it can be."""
    if math.isnan(value):
        return "not-a-number"
    if math.isinf(value):
        return "positive-infinity" if value > 0 else "negative-infinity"
    return None
