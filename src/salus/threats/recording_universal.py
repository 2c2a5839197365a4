"""One change of the voltage for everybody: fitted on the recordings of some people, added to those of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.errors import DataError
from salus.options import check_fields
from salus.preprocessing import RawRecording
from salus.preprocessing.beats import WINDOW
from salus.threats.recordings import offsets
from salus.threats.voltage import AttackedRecording, Voltage

Locked = Literal["period", "beats"]

_Locked = Annotated[Locked, Field(description="repeated from the start on, or beginning anew at every beat")]


@dataclass(frozen=True, eq=False)
class UniversalVoltage:
    """A waveform that was fitted on some recordings, to be added to any.

    Attributes:
        waveform: in mV, a row for the first lead of the classifier's and one for the other ``[2, S]``.
        locked: ``period``: repeated from the recording's start on, whatever the heart does; ``beats``: the same around
            every R peak, of which there must be some.
        lost: share of the beats that it lost where it was fitted, every class counting the same.
    """

    waveform: Tensor
    locked: Locked
    lost: float

    def __call__(self, classifier: Classifier, recording: RawRecording, labels: Tensor) -> AttackedRecording:
        """Add it to a recording, and ask the classifier; see :meth:`salus.threats.recordings.RecordingAttack.__call__`.

        No label decides what is added.
        """
        voltage = Voltage(classifier, recording, labels)
        return voltage.judged(voltage.changed(voltage.recording, repeated(self.waveform, self.locked, voltage)))

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {"waveform": self.waveform.tolist(), "locked": self.locked, "lost": self.lost}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> UniversalVoltage:
        """Make it again."""
        return cls(torch.tensor(values["waveform"], dtype=torch.float64), values["locked"], float(values["lost"]))


@dataclass(frozen=True, kw_only=True)
class RecordingUAP:
    """A universal perturbation of recordings (after Moosavi-Dezfooli et al., 2017, and Shafahi et al., 2020).

    Steps of equal length for every value, in the direction in which more beats of one training recording are lost (see
    :meth:`salus.threats.voltage.Voltage.share`), recording after recording in an order drawn anew in each epoch, along
    a cosine down to nothing; of all epochs that waveform is kept which lost most on the way through them.

    Attributes:
        eps: largest change, in mV.
        locked: see :class:`UniversalVoltage`.
        length: samples of the waveform at 360 Hz, where it is locked to none.
        epochs: how often each recording is seen.
        seed: of every draw.

    Raises:
        OptionError: a number makes no sense.
    """

    eps: Annotated[float, Field(gt=0, description="largest change, in mV")]
    locked: _Locked = "period"
    length: Annotated[int, Field(ge=1, description="samples of the waveform, where it is locked to no beat")] = 1800
    epochs: Annotated[int, Field(ge=1, description="how often each recording is seen")] = 4
    seed: Annotated[int, Field(ge=0, description="of every draw")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "Universal perturbation of recordings")

    def fit(
        self,
        classifier: Classifier,
        recordings: Sequence[Callable[[], tuple[RawRecording, Tensor]]],
        progress: Callable[[int], None] | None = None,
    ) -> UniversalVoltage:
        """Fit it on recordings, which are read one at a time.

        Args:
            classifier: knows how recordings are prepared.
            recordings: each reads a recording and the classes of its beats, -1 for those that nobody asks about.
            progress: called with 1 after each recording.

        Raises:
            DataError: there is no recording, or none with a beat that is answered rightly.
        """
        generator = torch.Generator().manual_seed(self.seed)
        size = WINDOW if self.locked == "beats" else self.length
        point = self.eps * (2 * torch.rand(2, size, generator=generator, dtype=torch.float64) - 1)
        best, most = point, -1.0
        with evaluating(classifier.module):
            for epoch in range(self.epochs):
                shares = []
                for done, place in enumerate(torch.randperm(len(recordings), generator=generator).tolist()):
                    voltage = Voltage(classifier, *recordings[place]())
                    if voltage.any_right:
                        point, lost = self._step(voltage, point, (epoch + done / len(recordings)) / self.epochs)
                        shares.append(lost)
                    if progress is not None:
                        progress(1)
                if not shares:
                    raise DataError("A universal perturbation needs a recording with a beat that is answered rightly.")
                lost = sum(shares) / len(shares)
                if lost >= most:
                    best, most = point, lost
        return UniversalVoltage(best, self.locked, most)

    def _step(self, voltage: Voltage, point: Tensor, progressed: float) -> tuple[Tensor, float]:
        """Go one step for one recording; returns the share that was lost before it, too."""
        point = point.detach().requires_grad_()
        margins, y = voltage.margins(voltage.changed(voltage.recording, repeated(point, self.locked, voltage)))
        lost = float((voltage.weights(y) * (margins <= 0)).sum().detach())
        (gradient,) = torch.autograd.grad(voltage.share(margins, y), [point])
        stride = self.eps * math.cos(math.pi * progressed / 2)
        return (point.detach() + stride * gradient.sign()).clamp(-self.eps, self.eps), lost


def repeated(waveform: Tensor, locked: Locked, voltage: Voltage) -> Tensor:
    """Repeat a waveform ``[2, S]`` over a recording: a row for each of its leads ``[L, T]``.

    The first row is for the first of the classifier's leads that the recording has, the second for the other.
    """
    if locked == "beats":
        at, near = offsets(voltage.marked, voltage.length)
        rows = torch.where(near, waveform[:, at], 0.0)
    else:
        rows = waveform[:, torch.arange(voltage.length) % waveform.shape[1]]
    first = voltage.first_lead
    return torch.stack([rows[0] if lead == first else rows[1] for lead in voltage.leads])
