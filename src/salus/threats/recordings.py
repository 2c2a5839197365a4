"""Attacks on whole recordings, in millivolts: one disturbance of the signal, which all beats share.

An attack on ``x`` moves each channel of each beat by itself. Someone who disturbs the electrodes' signal cannot: what
they add to a beat stands in its neighbours' channels, in the record's sinus beat, and in the height that all is
scaled by. So these climb through the preprocessor, for all beats of a recording together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from salus.attacks.smooth import SmoothPGD
from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.options import check_fields
from salus.preprocessing import RawRecording
from salus.preprocessing.beats import WINDOW
from salus.threats.voltage import AttackedRecording, Voltage

#: How often each R peak is tried on either side of its mark.
_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class RecordingAttack:
    """Projected gradient descent on the voltage of a recording, |change| <= eps at every sample of every lead.

    All beats that are answered rightly are attacked at once by one change, which raises the share of them that is lost,
    every class counting the same. That share is smoothed for the climb: a sigmoid of each beat's margin, by which the
    right class leads, over the median margin. (The slope of the cross-entropy vanishes where a network is sure, so that
    beats which share a change would follow those that are lost already; the mere sum of margins does not move beats
    that are alike, as what all of them share stands in the sinus beat too.) Of the points on the way that one counts
    at which the largest share is lost.
    Where beats are is the attacker's to move too: ``jitter`` first lets every R peak stand so many samples before or
    behind its mark, as detectors do, whichever lowers the margins of the beat and its neighbours most.

    Attributes:
        eps: largest change, in mV.
        steps: of the climb.
        restarts: climbs from other random starts.
        shape: ``free``; ``smooth``: seen through the average of Gaussian kernels of Han et al. (2020), so that no saw
            teeth give it away; ``tied``: one pattern of 280 samples, the same at every beat of the recording.
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
            DataError: the classifier takes no recordings, or this one has no R peaks, or not in order, or another rate.
        """
        voltage = Voltage(classifier, recording, labels)
        if not voltage.any_right:
            return voltage.unchanged()
        climb = _Climb(self, voltage)
        with evaluating(classifier.module):
            return voltage.worst(climb.candidates())


def noise(recording: RawRecording, attacked: AttackedRecording, seed: int = 0) -> RawRecording:
    """Disturb a recording blindly: every sample and R peak as far as an attack moved one, order and direction random.

    Args:
        recording: as it was.
        attacked: the same under attack.
        seed: of the draw.
    """
    change, generator = attacked.change, torch.Generator().manual_seed(seed)
    marked = np.asarray(recording.peaks or (), dtype=np.int64)
    moves = np.abs(np.asarray(attacked.recording.peaks or (), dtype=np.int64) - marked)
    moves = moves[torch.randperm(len(moves), generator=generator).numpy()]
    moves = moves * (2 * torch.randint(0, 2, (len(moves),), generator=generator).numpy() - 1)
    recording = replace(recording, peaks=(marked + _in_order(marked, moves)).tolist())
    signals = {}
    for lead, signal in recording.signals.items():
        signals[lead] = torch.as_tensor(signal, dtype=torch.float64).clone()
        if lead in change:
            size = change[lead].abs()[torch.randperm(len(change[lead]), generator=generator)]
            signals[lead] += size * (2 * torch.randint(0, 2, size.shape, generator=generator) - 1)
    return replace(recording, signals=signals)


class _Climb:
    """Where the peaks and the samples of a recording go under an attack."""

    def __init__(self, attack: RecordingAttack, voltage: Voltage) -> None:
        self.attack, self.voltage = attack, voltage
        self.smooth = SmoothPGD(eps=1.0)
        self.offsets, self.near = offsets(voltage.marked, voltage.length)

    def candidates(self) -> Iterator[RawRecording]:
        """Climb from each start."""
        for number in range(self.attack.restarts):
            generator = torch.Generator().manual_seed(self.attack.seed + number)
            yield from self.run(self.jittered(self.voltage.recording), generator)

    def run(self, recording: RawRecording, generator: torch.Generator) -> Sequence[RawRecording]:
        """Climb; return the last point, and the one at which most was lost on the way."""
        attack, voltage = self.attack, self.voltage
        if not attack.eps:
            return [recording]
        size = WINDOW if attack.shape == "tied" else voltage.length
        point = torch.rand(len(voltage.leads), size, generator=generator, dtype=torch.float64) * 2 - 1
        point = point * attack.eps
        best, most = point, -1.0
        for step in range(attack.steps):
            point.requires_grad_()
            margins, y = voltage.margins(self.disturbed(recording, point))
            lost = float((voltage.weights(y) * (margins <= 0)).sum().detach())
            if lost > most:
                best, most = point.detach(), lost
            (gradient,) = torch.autograd.grad(voltage.share(margins, y), [point])
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
        return self.voltage.changed(recording, change)

    @torch.no_grad()
    def jittered(self, recording: RawRecording) -> RawRecording:
        """Move R peaks where that lowers margins; a third of them at a time, as neighbours share intervals."""
        reach = self.attack.jitter
        if not reach:
            return recording
        marked = self.voltage.marked
        room = _room(marked, self.voltage.length, reach)
        moves = np.zeros(len(marked), dtype=np.int64)
        for third in (0, 1, 2) * _ROUNDS:
            rows = np.arange(third, len(marked), 3)
            before, best = around(self._margins(recording, moves)), moves.copy()
            for move in (-reach, 0, reach):
                tried = moves.copy()
                tried[rows] = np.where(room[rows], move, 0)
                tried = _in_order(marked, tried)
                if np.array_equal(tried, moves):
                    continue
                after = around(self._margins(recording, tried))
                lower = np.isin(np.arange(len(marked)), rows) & (after < before)
                best, before = np.where(lower, tried, best), np.where(lower, after, before)
            moves = _in_order(marked, best)
        return replace(recording, peaks=(marked + moves).tolist())

    def _margins(self, recording: RawRecording, moves: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.voltage.margin_of_each(replace(recording, peaks=(self.voltage.marked + moves).tolist()))


def _room(marked: NDArray[np.int64], length: int, reach: int) -> NDArray[np.bool_]:
    """Which beats keep their window inside the record, however they are moved ``[P]``."""
    half = WINDOW // 2 + reach
    inside: NDArray[np.bool_] = (marked >= half) & (marked <= length - half)
    return inside


def offsets(peaks: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
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


def around(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over each beat and its two neighbours."""
    padded = np.pad(margins, 1)
    return padded[:-2] + padded[1:-1] + padded[2:]
