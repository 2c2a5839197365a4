"""Whether a training learnt anything: its classifier beside the one that always gives the same answer."""

from __future__ import annotations

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.data.base import Dataset
from salus.metrics.commonest import commonest
from salus.metrics.wording import percentage

#: So many standard errors of the macro recall may be chance.
_ERRORS = 2.0


def learnt_nothing(classifier: Classifier, validation: Dataset) -> str | None:
    """Say in a sentence that a trained classifier is no better than always answering one class; None where it is.

    What counts is the macro recall, which no constant answer raises. A classifier that tells classes apart and still
    is right less often than the constant is said to be so.

    Args:
        classifier: trained on samples like these, not on these.
        validation: samples of the part that decided when to stop.
    """
    y = validation.y
    answers = classifier.predict(validation.x).argmax(1).to(y.device)
    counts = torch.bincount(y, minlength=len(validation.classes))
    shown = counts > 0
    if int(shown.sum()) < 2:
        return None  # any constant is right
    recalls = (torch.bincount(y[answers == y], minlength=len(counts)) / counts)[shown].double()
    recall, accuracy = float(recalls.mean()), float((answers == y).double().mean())
    chance, constantly = 1 / len(recalls), commonest(y, validation.classes)
    ours = f"{percentage(accuracy)} of {len(y)} validation samples right, macro recall {percentage(recall)}"
    constant = (
        f"always answering {constantly.label!r} gets {percentage(constantly.share)} right, "
        f"macro recall {percentage(chance)}"
    )
    if recall - chance <= _ERRORS * _standard_error(recalls, counts[shown]):
        return (
            f"The training learnt nothing that shows: {ours}; {constant}. How such a classifier fares under attack "
            "says nothing; look at the labels and the scale of the inputs, train longer, or lower the learning rate "
            "(--training epochs=..., --training learning_rate=...)."
        )
    if accuracy <= constantly.share:
        return f"The classifier is right no more often than a constant answer: {ours}; {constant}."
    return None


def _standard_error(recalls: Tensor, counts: Tensor) -> float:
    """Return that of the mean of recalls ``[K]``, each of so many samples ``[K]``."""
    return float((recalls * (1 - recalls) / counts).sum().sqrt()) / len(recalls)
