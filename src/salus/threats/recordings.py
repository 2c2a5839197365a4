"""Attacks on whole recordings, in millivolts: one disturbance of the signal, which all beats share.

An attack on ``x`` moves each channel of each beat by itself. Someone who disturbs the electrodes' signal cannot: what
they add to a beat stands in its neighbours' channels, in the record's sinus beat, and in the height that all is
scaled by. So these climb through the preprocessor, for all beats of a recording together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from salus.attacks.smooth import SmoothPGD
from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.errors import DataError
from salus.options import check_fields
from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.preprocessing.beats import WINDOW
from salus.preprocessing.recordings import beat_name

#: Rounds in which R peaks are moved; each tries a third of them.
_TURNS = 6
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


@dataclass(frozen=True, kw_only=True)
class RecordingAttack:
    """Projected gradient descent on the voltage of a recording, |change| <= eps at every sample of every lead.

    All beats are attacked at once by one change; of the points on the way that counts which most beats are answered
    wrongly at. Where beats are is the attacker's to move too: ``jitter`` first lets every R peak stand up to so many
    samples from where it was marked, as detectors do, wherever that raises the loss.

    Attributes:
        eps: largest change, in mV.
        steps: of the climb.
        restarts: climbs from other random starts.
        shape: ``free``; ``smooth``: seen through the average of Gaussian kernels of Han et al. (2020), so that no saw
            teeth give it away; ``tied``: one pattern of 280 samples, the same at every beat of the recording.
        loss: cross-entropy, or the margin by which the right class leads.
        jitter: how far an R peak may be moved, in samples at 360 Hz.
        seed: of every draw.

    Raises:
        OptionError: a number makes no sense.

    Example:
        >>> attack = RecordingAttack(eps=0.01)  # 10 microvolts
        >>> attacked = attack(classifier, recording, labels)  # doctest: +SKIP
    """

    eps: Annotated[float, Field(ge=0, description="largest change, in mV")]
    steps: Annotated[int, Field(ge=1, description="of the climb")] = 40
    restarts: Annotated[int, Field(ge=1, description="climbs from other random starts")] = 1
    shape: Annotated[Literal["free", "smooth", "tied"], Field(description="what the change may look like")] = "free"
    loss: Annotated[Literal["cross-entropy", "margin"], Field(description="what the climb raises")] = "cross-entropy"
    jitter: Annotated[int, Field(ge=0, le=50, description="how far an R peak may be moved, in samples")] = 0
    seed: Annotated[int, Field(ge=0, description="of every draw")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "Attack on recordings")

    def __call__(self, classifier: Classifier, recording: RawRecording, labels: Tensor) -> AttackedRecording:
        """Attack every beat of a recording.

        Args:
            classifier: knows how recordings are prepared.
            recording: at 360 Hz, with its R peaks in order ``[P]``.
            labels: the right class of each beat ``[P]``; -1 for those that nobody asks about.

        Raises:
            DataError: the classifier takes no recordings, or this one has no R peaks or another rate.
        """
        climb = _Climb(self, classifier, recording, labels)
        recording = replace(recording, signals=climb.clean)
        best, most = recording, -1
        with evaluating(classifier.module):
            for number in range(self.restarts):
                generator = torch.Generator().manual_seed(self.seed + number)
                moved = climb.jittered(recording, generator)
                for candidate in climb.run(moved, generator):
                    wrong = climb.wrong(candidate)
                    if wrong > most:
                        best, most = candidate, wrong
        change = {lead: best.signals[lead] - climb.clean[lead] for lead in climb.leads}
        return AttackedRecording(best, change, climb.answers(best), climb.answers(recording))


def noise(recording: RawRecording, change: Mapping[str, Tensor], seed: int = 0) -> RawRecording:
    """Disturb a recording blindly: every sample as far as an attack moved one, in random order and direction.

    Args:
        recording: as it was.
        change: of an attack, by lead.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    signals = {}
    for lead, signal in recording.signals.items():
        signals[lead] = torch.as_tensor(signal, dtype=torch.float64).clone()
        if lead in change:
            size = change[lead].abs()[torch.randperm(len(change[lead]), generator=generator)]
            signals[lead] += size * (2 * torch.randint(0, 2, size.shape, generator=generator) - 1)
    return replace(recording, signals=signals)


class _Climb:
    """A recording, and what a change of it does to the answers."""

    def __init__(
        self, attack: RecordingAttack, classifier: Classifier, recording: RawRecording, labels: Tensor
    ) -> None:
        preprocessor = classifier.preprocessor
        if not isinstance(preprocessor, RecordingPreprocessor):
            raise DataError("This classifier takes no recordings, so that there is no voltage to change.")
        if recording.peaks is None or recording.rate != 360:
            raise DataError(f"{recording.name} needs R peaks and 360 samples a second to be attacked.")
        self.attack, self.classifier, self.preprocessor, self.labels = attack, classifier, preprocessor, labels
        self.clean = {lead: torch.as_tensor(signal, dtype=torch.float64) for lead, signal in recording.signals.items()}
        self.leads = [lead for lead, signal in self.clean.items() if bool(signal.isfinite().any())]
        self.smooth = SmoothPGD(eps=1.0)
        length = len(next(iter(self.clean.values())))
        self.offsets, self.near = _offsets(np.asarray(recording.peaks, dtype=np.int64), length)

    def run(self, recording: RawRecording, generator: torch.Generator) -> Sequence[RawRecording]:
        """Climb; return the last point, and the one where most beats were wrong on the way."""
        attack = self.attack
        if not attack.eps:
            return [recording]
        size = WINDOW if attack.shape == "tied" else len(next(iter(self.clean.values())))
        point = torch.rand(len(self.leads), size, generator=generator, dtype=torch.float64) * 2 - 1
        point = point * attack.eps
        best, most = point, -1
        for step in range(attack.steps):
            point.requires_grad_()
            logits, y = self.logits(self.disturbed(recording, point))
            wrong = int((logits.argmax(1) != y).sum())
            if wrong > most:
                best, most = point.detach(), wrong
            (gradient,) = torch.autograd.grad(self.objective(logits, y), [point])
            stride = 2 * attack.eps * float(np.cos(np.pi * step / (2 * attack.steps)))
            point = (point.detach() + stride * gradient.sign()).clamp(-attack.eps, attack.eps)
        return [self.disturbed(recording, point), self.disturbed(recording, best)]

    def disturbed(self, recording: RawRecording, point: Tensor) -> RawRecording:
        """Add the change that a point ``[L, T]`` (tied: ``[L, 280]``) stands for."""
        change = point
        if self.attack.shape == "smooth":
            change = self.smooth.smooth(point[None])[0]
        elif self.attack.shape == "tied":
            change = torch.where(self.near, point[:, self.offsets], 0.0)
        signals = dict(self.clean)
        for lead, row in zip(self.leads, change, strict=True):
            signals[lead] = self.clean[lead] + row
        return replace(recording, signals=signals)

    def logits(self, recording: RawRecording) -> tuple[Tensor, Tensor]:
        """Answer to the beats whose class is known: logits ``[B, K]`` and classes ``[B]``."""
        x, rows = self.prepared(recording)
        y = self.labels[rows]
        known = (y >= 0).nonzero()[:, 0]
        parts = [self.classifier.module(part) for part in x[known].split(_TOGETHER)]
        return torch.cat(parts), y[known]

    def prepared(self, recording: RawRecording) -> tuple[Tensor, Tensor]:
        """Prepare the beats ``[B, C, 280]``; returns which of the peaks they are, too ``[B]``."""
        prepared = self.preprocessor.transform(recording)
        place = {beat_name(recording.name, int(peak)): row for row, peak in enumerate(recording.peaks or ())}
        return prepared.x, torch.tensor([place[name] for name in prepared.names], dtype=torch.int64)

    def objective(self, logits: Tensor, y: Tensor) -> Tensor:
        """What the climb raises, summed over beats."""
        if self.attack.loss == "cross-entropy":
            return cross_entropy(logits, y, reduction="sum")
        right = logits.gather(1, y[:, None])[:, 0]
        others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
        return (others - right).clamp(max=1.0).sum()

    @torch.no_grad()
    def wrong(self, recording: RawRecording) -> int:
        """Count the beats that are answered wrongly."""
        logits, y = self.logits(recording)
        return int((logits.argmax(1) != y).sum())

    @torch.no_grad()
    def answers(self, recording: RawRecording) -> Tensor:
        """Answer to every beat ``[P]``; -1 where one is not prepared."""
        x, rows = self.prepared(recording)
        answers = torch.full((len(self.labels),), -1)
        return answers.scatter(0, rows, self.classifier.predict(x).argmax(1))

    @torch.no_grad()
    def jittered(self, recording: RawRecording, generator: torch.Generator) -> RawRecording:
        """Move R peaks where that raises the loss; a third of them at a time, as neighbours share intervals."""
        reach = self.attack.jitter
        if not reach:
            return recording
        marked = np.asarray(recording.peaks, dtype=np.int64)
        moves = np.zeros(len(marked), dtype=np.int64)
        losses = self._losses(recording, marked, moves)
        for turn in range(_TURNS):
            tried = moves.copy()
            rows = np.arange(turn % 3, len(marked), 3)
            tried[rows] = torch.randint(-reach, reach + 1, (len(rows),), generator=generator).numpy()
            tried = _in_order(marked, tried)
            after = self._losses(recording, marked, tried)
            gain = _around(after) - _around(losses)
            kept = np.where(gain > 0, tried, moves)
            moves = np.where(np.isin(np.arange(len(marked)), rows), kept, moves)
            losses = self._losses(recording, marked, moves)
        return replace(recording, peaks=(marked + moves).tolist())

    def _losses(
        self, recording: RawRecording, marked: NDArray[np.int64], moves: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Cross-entropy of each beat ``[P]``; 0 where it is not prepared or has no class."""
        x, rows = self.prepared(replace(recording, peaks=(marked + moves).tolist()))
        y = self.labels[rows]
        known = (y >= 0).nonzero()[:, 0]
        logits = torch.cat([self.classifier.module(part) for part in x[known].split(_TOGETHER)])
        losses = np.zeros(len(marked))
        losses[rows[known].numpy()] = cross_entropy(logits, y[known], reduction="none").double().numpy()
        return losses


def _offsets(peaks: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
    """Where each sample lies in the window of the nearest beat ``[T]``, and whether it lies in one."""
    at = np.arange(length)
    after = np.searchsorted(peaks, at).clip(0, max(len(peaks) - 1, 0))
    before = (after - 1).clip(0)
    nearest = np.where(np.abs(peaks[after] - at) < np.abs(peaks[before] - at), peaks[after], peaks[before])
    offsets = at - nearest + WINDOW // 2
    near = (offsets >= 0) & (offsets < WINDOW)
    return torch.from_numpy(offsets.clip(0, WINDOW - 1)), torch.from_numpy(near)


def _in_order(marked: NDArray[np.int64], moves: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take back moves that would let a beat pass its neighbour or leave the record."""
    places = marked + moves
    bad = (places < 0) | (np.diff(places, prepend=-1) <= 0) | (np.diff(places, append=places[-1] + 1) <= 0)
    return np.where(bad, 0, moves)


def _around(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over each beat and its two neighbours."""
    padded = np.pad(losses, 1)
    return padded[:-2] + padded[1:-1] + padded[2:]
