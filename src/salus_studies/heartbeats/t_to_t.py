"""Beats as Mousavi and Afghah (2019) cut them: from one T peak to the next, 280 samples however long that is.

After what they released (facts of its files alone): the first lead of a record, standardised over the record; R peaks
from the annotations, of whatever kind; Q and S the lowest samples shortly before and after, the T peak the highest one
in two thirds of the time from the end of the QRS complex to the next one. Marks for which one of these points cannot be
found are left out, and so are those that are no beats, but a beat begins at the T peak of the mark before it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from salus.errors import DataError
from salus.preprocessing.beats import WINDOW, label_of
from salus.preprocessing.wfdb_files import by_name, lead_names, read_annotations, read_lead

#: The classes that they answer between patients; fusion beats and beats of class Q are left out.
CLASSES = ("N", "S", "V")

_RATE = 360
#: Samples after and before an R peak in which S and Q lie, and beyond which the QRS complex ends or begins.
_S, _Q, _EDGE = 36, 18, 14


def cut_record(path: Path) -> tuple[Tensor, Tensor]:
    """Cut a record; returns the beats of :data:`CLASSES` in order of time ``[B, 280]``, and their classes ``[B]``."""
    lead = read_lead(path, by_name(*lead_names(path)))
    marks = read_annotations(path, lead.rate)
    if marks is None:
        raise DataError(f"Record {path} has no annotations.")
    signal = np.nan_to_num(lead.signal)
    signal = (signal - signal.mean()) / signal.std(ddof=1)
    rows, t_peaks = _t_peaks(signal, marks.samples)
    beats, classes, before = [], [], 0
    for row, t_peak in zip(rows, t_peaks, strict=True):
        label = label_of(marks.symbols[row])
        segment = signal[before : t_peak - 1] if before else signal[: min(_RATE, t_peak - 1)]
        before = t_peak - 1
        if label in CLASSES and len(segment):
            beats.append(_resized(segment))
            classes.append(CLASSES.index(label))
    return torch.stack(beats), torch.tensor(classes)


def _resized(segment: NDArray[np.float64]) -> Tensor:
    """Bring a stretch to 280 samples, by cubic interpolation that averages where it shrinks."""
    row = torch.from_numpy(np.ascontiguousarray(segment)).float()[None, None, None]  # [1, 1, 1, T]
    return interpolate(row, (1, WINDOW), mode="bicubic", antialias=True, align_corners=False)[0, 0, 0]


def _t_peaks(signal: NDArray[np.float64], peaks: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Find T peaks; returns the marks that have one, and where it is."""
    usual = len(signal) / max(len(peaks), 1)
    begins, ends, whole = (np.zeros(len(peaks), dtype=np.int64) for _ in range(3))
    for row, peak in enumerate(peaks.tolist()):
        if row == 0:
            ends[row] = peak + _S
        elif row == len(peaks) - 1:
            begins[row] = peak - _Q
        elif peak + round(2 * usual / 3) < len(signal) and peak - round(usual / 3) >= 1 and peak > _Q + _EDGE:
            s = peak + int(np.argmin(signal[peak : peak + _S + 1]))
            q = peak - _Q + int(np.argmin(signal[peak - _Q : peak + 1]))
            begins[row] = q - _EDGE + int(np.argmin(np.abs(_slope(signal[q - _EDGE : q + 1]))))
            steep = np.abs(_slope(signal[s : s + _EDGE + 1]))
            ends[row] = s + int(np.argmax(steep >= 0.2 * steep.max(initial=0.0)))
            whole[row] = 1
    rows, found = [], []
    for row in range(1, len(peaks) - 1):
        following = int(begins[row + 1])
        if whole[row] and begins[row] > ends[row - 1] and ends[row] < following:
            last = following - round((following - ends[row]) / 3)
            rows.append(row)
            found.append(int(ends[row]) + int(np.argmax(signal[ends[row] : last + 1])))
    return rows, found


def _slope(stretch: NDArray[np.float64]) -> NDArray[np.float64]:
    return stretch[2:] - stretch[:-2]
