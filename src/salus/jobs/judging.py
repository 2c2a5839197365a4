"""A guard's verdicts on a file or folder of any size, as a table that grows with it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from salus.classifier import Classifier
from salus.data.labels import by_name
from salus.guard import Guard
from salus.progress import progress
from salus.verdict import Judgement

#: Is told what a guard said.
Hear = Callable[[Guard, Judgement], None]


@dataclass
class JudgingTally:
    """What a judging came to, as far as it went.

    Attributes:
        judged: inputs that were judged.
        rejected: of these.
        labelled: those accepted whose class the source names, and the model knows.
        right: of these, those that were answered with it.
        refused: inputs that could not be prepared.
        notes: what was assumed, each once.
        clipped: values that lay outside the range of training and were clipped, of ``values``.
        values: how many there were.
    """

    judged: int = 0
    rejected: int = 0
    labelled: int = 0
    right: int = 0
    refused: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    clipped: int = 0
    values: int = 0

    def sentences(self) -> list[str]:
        """Say it for people."""
        words = [f"{self.judged} inputs judged, {self.rejected} rejected ({self.rejected / self.judged:.1%})."]
        if self.labelled:
            words.append(
                f"Of {self.labelled} that were accepted and whose class the source names, {self.right} were answered "
                f"with it ({self.right / self.labelled:.1%})."
            )
        if self.refused:
            words.append(
                f"WARNING: {self.refused} inputs could not be prepared and were not judged; the table says why."
            )
        if self.clipped:
            share = self.clipped / self.values
            much = share > _MUCH and self.clipped >= _SOME
            doubt = "; are they in the units of the training data, and not scaled already?" if much else ""
            words.append(
                f"{'WARNING: ' if doubt else ''}{self.clipped} of {self.values} values ({share:.1%}) lie outside the "
                f"range of the training data and were clipped{doubt}" + ("" if doubt else ".")
            )
        return [*words, *(f"Note: {note}." for note in self.notes)]


#: A share of values outside the range of training that makes one doubt their units.
_MUCH = 0.05
#: As many of them, at least.
_SOME = 20


def judge_thing(
    bundle: Path,
    thing: Path,
    tally: JudgingTally,
    *,
    factory: str | None = None,
    label: str | None = None,
    hear: Hear | None = None,
) -> Iterator[str]:
    """Judge a file or folder, and yield lines of CSV as they come, the header first.

    An input that could not be prepared has no index and the answer ``not judged``, with the reason at the end.

    Args:
        bundle: folder of the guard, or of a model that stands alone.
        thing: raw inputs, or an ``.npz`` or ``.npy`` file of prepared ones.
        tally: counts what comes of it.
        factory: ``package.module:function``, for a bundle around a model of one's own.
        label: the column of a table that holds the label, where its name does not tell.
        hear: is told of every judgement as it comes.

    Raises:
        BundleError: the bundle cannot be used, or does not know how its inputs are made.
        DataError: the thing is no input of this guard.
    """
    guard = open_guard(bundle, factory)
    scores = [str(detector["name"]) for detector in guard.describe()["detectors"]]
    held = heading(scores)
    with progress(f"Judging {thing.name}", None) as advance:
        for judgement in guard.judge_batches(thing, label=label):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(_rows(judgement, guard.classifier.classes, tally.judged))
            for refusal in judgement.refused:
                text.write(not_judged(refusal.name, refusal.reason, scores))
            _count(tally, judgement, guard)
            if hear is not None:
                hear(guard, judgement)
            advance(len(judgement.names))
            held += text.getvalue()
            if tally.judged:  # nothing stands where nothing could be judged
                yield held
                held = ""


def open_guard(folder: Path, factory: str | None = None) -> Guard:
    """Load a guard, or a model without one.

    Raises:
        BundleError: the folder holds neither.
    """
    if (folder / "guard.json").exists() or not (folder / "model.json").exists():
        return Guard.load(folder, factory=factory)
    return Guard(Classifier.load(folder, factory=factory), name="none")


def _rows(judgement: Judgement, classes: tuple[str, ...], first: int) -> Iterator[list[str]]:
    verdict = judgement.verdict
    if verdict is None:
        return
    scores = [score.tolist() for score in verdict.scores.values()]
    probabilities = verdict.probabilities.gather(1, verdict.labels[:, None])[:, 0].tolist()
    labels, accepted = verdict.labels.tolist(), verdict.accepted.tolist()
    for row, name in enumerate(judgement.names):
        label = classes[labels[row]]
        yield [
            str(first + row), name, label if accepted[row] else "rejected", str(accepted[row]).lower(), label,
            *_numbers(probabilities[row], [score[row] for score in scores]), "",
        ]  # fmt: skip


def heading(scores: Sequence[str]) -> str:
    """Write the first line of the table, given the names of the detectors."""
    return _line(["index", "name", "answer", "accepted", "class", "probability", *scores, "reason"])


def verdict_line(
    index: int, name: str, label: str | None, probability: float | None, scores: Sequence[float | None]
) -> str:
    """Write the line of a verdict as it is served: of a rejected input there is neither label nor probability."""
    answer = "rejected" if label is None else label
    accepted = str(label is not None).lower()
    return _line([str(index), name, answer, accepted, label or "", *_numbers(probability, scores), ""])


def not_judged(name: str, reason: str, scores: Sequence[str]) -> str:
    """Write the line of an input that could not be prepared, given the names of the detectors."""
    return _line(["", name, "not judged", "false", "", "", *("" for _ in scores), reason])


def _numbers(probability: float | None, scores: Sequence[float | None]) -> list[str]:
    return [
        "" if probability is None else f"{probability:.6f}",
        *("" if score is None else f"{score:.4f}" for score in scores),
    ]


def _count(tally: JudgingTally, judgement: Judgement, guard: Guard) -> None:
    tally.refused += len(judgement.refused)
    tally.notes.update(dict.fromkeys(judgement.notes))
    tally.clipped += judgement.clipped
    verdict = judgement.verdict
    if verdict is None:
        return
    shape = guard.classifier.shape
    tally.judged += len(judgement.names)
    tally.rejected += int((~verdict.accepted).sum())
    tally.values += len(judgement.names) * math.prod(shape)
    if judgement.labels:
        classes = by_name(set(judgement.labels), guard.classifier.classes)
        truth = torch.tensor([classes.get(label, -1) for label in judgement.labels], device=verdict.labels.device)
        known = (truth >= 0) & verdict.accepted
        tally.labelled += int(known.sum())
        tally.right += int((known & (verdict.labels == truth)).sum())


def _line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
