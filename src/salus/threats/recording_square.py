"""Square on whole recordings: random windows, seeing logits alone, tried at a third of all beats at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from salus.attacks.square import shrunk
from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.options import check_fields
from salus.preprocessing import RawRecording
from salus.preprocessing.beats import WINDOW
from salus.threats.recordings import around
from salus.threats.voltage import AttackedRecording, Voltage

#: Share of a beat's window that is changed at first: the authors', as queries are few here.
_FIRST = 0.8


@dataclass(frozen=True, kw_only=True)
class RecordingSquare:
    """Random search on the voltage (after Andriushchenko et al., 2020, Alg. 2), at all beats side by side.

    It begins at the rim of the ball, every sample up or down by chance, and then changes a window of time near a beat,
    of each lead up or down to the rim; what lowers the margins of the beat and its two neighbours is kept.
    One answer to the whole recording judges a third of its beats, which are no neighbours, and one more what was kept;
    the windows shrink on Square's schedule. A recording as one sample of Square would move one window at a query.

    Attributes:
        eps: largest change, in mV.
        queries: answers that are asked for, each to every beat of the recording.
        seed: of every draw.

    Raises:
        OptionError: a number makes no sense.
    """

    eps: Annotated[float, Field(gt=0, description="largest change, in mV")]
    queries: Annotated[int, Field(ge=4, description="answers asked for, each to every beat")] = 300
    seed: Annotated[int, Field(ge=0, description="of every draw")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "Square on recordings")

    def __call__(self, classifier: Classifier, recording: RawRecording, labels: Tensor) -> AttackedRecording:
        """Attack every beat of a recording; see :meth:`salus.threats.recordings.RecordingAttack.__call__`."""
        voltage = Voltage(classifier, recording, labels)
        if not voltage.any_right:
            return voltage.unchanged()
        with evaluating(classifier.module):
            return voltage.worst([voltage.recording, voltage.changed(voltage.recording, self._search(voltage))])

    def _search(self, voltage: Voltage) -> Tensor:
        rng = np.random.default_rng(self.seed)
        marked, leads = voltage.marked, len(voltage.leads)
        change = rng.choice([-1.0, 1.0], (leads, voltage.length))  # [L, T]
        proposals = self.queries // 2  # what is kept of one is asked about too: beats share the sinus beat
        for number in range(proposals):
            standing = self._margins(voltage, change)  # [P]
            rows = np.arange(number % 3, len(marked), 3)
            width = max(1, round(WINDOW * shrunk(_FIRST, number / proposals)))
            starts = marked[rows] - WINDOW // 2 + rng.integers(0, WINDOW - width + 1, len(rows))
            at = (starts[:, None] + np.arange(width)).clip(0, voltage.length - 1)  # [b, width]
            before = change[:, at]  # [L, b, width]
            after = rng.choice([-1.0, 1.0], (leads, len(rows), 1))
            same = (before == after).all((0, 2), keepdims=True)  # would change nothing: the other way
            change[:, at] = np.where(same, -after, after)
            worse = (self._margins(voltage, change) >= standing)[rows]
            change[:, at[worse]] = before[:, worse]
        return self.eps * torch.from_numpy(change)

    def _margins(self, voltage: Voltage, change: NDArray[np.float64]) -> NDArray[np.float64]:
        disturbed = voltage.changed(voltage.recording, self.eps * torch.from_numpy(change))
        return around(voltage.margin_of_each(disturbed))
