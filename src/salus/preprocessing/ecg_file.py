"""What a file of an ECG holds, whichever format it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Samples of all leads together: a day of three leads at 500 Hz.
MOST_SAMPLES = 2**27

#: Sampling rates of recordings, Hz.
RATES = (10.0, 1e5)

#: Voltages of recordings, mV: far more than any electrode gives.
_MOST_MILLIVOLTS = 1e4


@dataclass(frozen=True, eq=False)
class EcgFile:
    """The leads of a file.

    Attributes:
        signals: lead -> its samples in mV, float64 ``[T]``; NaN in gaps.
        rates: lead -> its samples a second.
        format: what it was read as, in words.
        notes: what was assumed, and what was left out.

    Raises:
        ValueError: there are no leads, or they cannot be those of a recording, in words that follow the file's name.
    """

    signals: Mapping[str, NDArray[np.float64]]
    rates: Mapping[str, float]
    format: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.signals:
            left = f" ({'; '.join(self.notes[:3])})" if self.notes else ""
            raise ValueError(f"holds no lead in millivolts{left}")
        for lead, signal in self.signals.items():
            rate = self.rates[lead]
            if not RATES[0] <= rate <= RATES[1]:
                raise ValueError(
                    f"promises {rate:g} samples a second of lead {lead}; they must be {RATES[0]:g} to {RATES[1]:g}"
                )
            if not len(signal):
                raise ValueError(f"holds no samples of lead {lead}")
            valid = signal[np.isfinite(signal)]
            if len(valid) and float(np.abs(valid).max()) > _MOST_MILLIVOLTS:
                raise ValueError(
                    f"has up to {float(np.abs(valid).max()):g} mV in lead {lead}, which is no ECG; its scale is wrong"
                )
