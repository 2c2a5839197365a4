"""A whole recording whose voltage is changed, and what that does to the answers to its beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.attacks.objective import logit_margin
from salus.classifier import Classifier
from salus.errors import DataError
from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.preprocessing.recordings import beat_name
from salus.preprocessing.wfdb_files import by_name

#: Beats that a network sees at a time.
_TOGETHER = 1024


@dataclass(frozen=True, eq=False)
class AttackedRecording:
    """A recording under attack.

    Attributes:
        recording: with the disturbed signals.
        change: what was added to each lead, in mV.
        answers: the classifier's to each beat ``[P]``; -1 where one was not prepared, as at the ends.
        clean: its answers before ``[P]``.
    """

    recording: RawRecording
    change: Mapping[str, Tensor]
    answers: Tensor
    clean: Tensor


class Voltage:
    """A recording in millivolts, the beats of it that are answered rightly, and what a change does to them.

    Args:
        classifier: knows how recordings are prepared.
        recording: at 360 Hz, with its R peaks in order ``[P]``.
        labels: the right class of each beat ``[P]``; -1 for those that nobody asks about.

    Attributes:
        recording: its signals as tensors, float64.
        leads: those that have samples.
        answers_before: the classifier's to each beat ``[P]``; -1 where one was not prepared.
        labels: of those beats that are answered rightly ``[P]``; -1 for all others.

    Raises:
        DataError: the classifier takes no recordings, or this one has no R peaks, or not in order, or another rate.
    """

    def __init__(self, classifier: Classifier, recording: RawRecording, labels: Tensor) -> None:
        preprocessor = classifier.preprocessor
        if not isinstance(preprocessor, RecordingPreprocessor):
            raise DataError("This classifier takes no recordings, so that there is no voltage to change.")
        if recording.peaks is None or recording.rate != 360:
            raise DataError(f"{recording.name} needs R peaks and 360 samples a second to be attacked.")
        self.classifier, self.preprocessor, self.labels = classifier, preprocessor, labels
        self.marked = np.asarray(recording.peaks, dtype=np.int64)
        if not len(self.marked) or bool((np.diff(self.marked) <= 0).any()):
            raise DataError(f"{recording.name}: its R peaks must be some, in order and each once, to be attacked.")
        self.clean = {lead: torch.as_tensor(signal, dtype=torch.float64) for lead, signal in recording.signals.items()}
        self.leads = [lead for lead, signal in self.clean.items() if bool(signal.isfinite().any())]
        self.length = len(next(iter(self.clean.values())))
        self.recording = replace(recording, signals=self.clean)
        self.answers_before = self.answers(self.recording)
        self.labels = torch.where(self.answers_before == labels, labels, -1)

    @property
    def any_right(self) -> bool:
        """Whether there is a beat to be lost."""
        return bool((self.labels >= 0).any())

    @property
    def first_lead(self) -> str:
        """The lead that the preprocessor reads first."""
        return next(lead for lead in by_name(*self.preprocessor.leads)(list(self.clean)) if lead in self.leads)

    def changed(self, recording: RawRecording, change: Tensor) -> RawRecording:
        """Add a change to the leads, in mV ``[L, T]``; gaps stay gaps."""
        signals = dict(self.clean)
        for lead, row in zip(self.leads, change, strict=True):
            signals[lead] = self.clean[lead] + row
        return replace(recording, signals=signals)

    def worst(self, candidates: Iterable[RawRecording]) -> AttackedRecording:
        """Take that of some disturbed recordings of which most is lost, the first of several alike."""
        best, most = self.recording, -1.0
        for candidate in candidates:
            lost = self.lost(candidate)
            if lost > most:
                best, most = candidate, lost
        return self.judged(best)

    def judged(self, disturbed: RawRecording) -> AttackedRecording:
        """Ask about a disturbed recording."""
        change = {lead: (disturbed.signals[lead] - self.clean[lead]).nan_to_num(0.0) for lead in self.leads}
        return AttackedRecording(disturbed, change, self.answers(disturbed), self.answers_before)

    def unchanged(self) -> AttackedRecording:
        """Leave a recording alone of which nothing can be lost."""
        change = {lead: torch.zeros_like(self.clean[lead]) for lead in self.leads}
        return AttackedRecording(self.recording, change, self.answers_before, self.answers_before)

    def margins(self, recording: RawRecording) -> tuple[Tensor, Tensor]:
        """By how much the right class leads at each beat that is asked about ``[B]``, and which it is ``[B]``."""
        logits, rows = self.logits(recording)
        y = self.labels[rows]
        return logit_margin(logits, y), y

    @torch.no_grad()
    def margin_of_each(self, recording: RawRecording) -> NDArray[np.float64]:
        """Margins of all beats ``[P]``, from -1 to 1 so that the sure and the lost weigh nothing; 0 of the others."""
        logits, rows = self.logits(recording)
        margins = np.zeros(len(self.labels))
        margins[rows.numpy()] = logit_margin(logits, self.labels[rows]).clamp(-1, 1).double().numpy()
        return margins

    def weights(self, y: Tensor) -> Tensor:
        """Let every class count the same ``[B]``; all together 1."""
        counts = torch.bincount(self.labels[self.labels >= 0], minlength=int(y.max()) + 1).double()
        return 1 / (counts[y] * (counts > 0).sum())

    def share(self, margins: Tensor, y: Tensor) -> Tensor:
        """Smooth the share of the beats that is lost, every class counting the same; it has a slope at every beat.

        A sigmoid of each margin over the median margin: the slope of the cross-entropy vanishes where a network is
        sure, so that beats which share a change would follow those that are lost already; the mere sum of margins does
        not move beats that are alike, as what all of them share stands in the sinus beat too.
        """
        middle = margins.detach().abs().median().clamp(min=1e-6)
        return (self.weights(y) * (-margins / middle).sigmoid()).sum()

    def logits(self, recording: RawRecording) -> tuple[Tensor, Tensor]:
        """Ask about the beats that are asked about ``[B, K]``; returns which of the peaks they are, too ``[B]``."""
        x, rows = self.prepared(recording)
        known = (self.labels[rows] >= 0).nonzero()[:, 0]
        return torch.cat([self.classifier.module(part) for part in x[known].split(_TOGETHER)]), rows[known]

    def prepared(self, recording: RawRecording) -> tuple[Tensor, Tensor]:
        """Prepare the beats ``[B, C, 280]``; returns which of the peaks they are, too ``[B]``."""
        prepared = self.preprocessor.transform(recording)
        place = {beat_name(recording.name, int(peak)): row for row, peak in enumerate(recording.peaks or ())}
        return prepared.x, torch.tensor([place[name] for name in prepared.names], dtype=torch.int64)

    @torch.no_grad()
    def lost(self, recording: RawRecording) -> float:
        """Share of the beats asked about that are not answered rightly, classes counting the same."""
        margins, y = self.margins(recording)
        return float((self.weights(y) * (margins <= 0)).sum())

    @torch.no_grad()
    def answers(self, recording: RawRecording) -> Tensor:
        """Answer to every beat ``[P]``; -1 where one is not prepared."""
        x, rows = self.prepared(recording)
        answers = torch.full((len(self.labels),), -1)
        return answers.scatter(0, rows, self.classifier.predict(x).argmax(1))
