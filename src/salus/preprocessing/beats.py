"""Cutting heartbeats out of a lead: 280 samples at 360 Hz around each R peak, scaled by their own range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.preprocessing.context import CHANNELS, surroundings
from salus.preprocessing.wfdb_files import Annotations

WINDOW = 280

#: The AAMI classes and the beat annotations that make them up (ECG-ATK-GAN, section III).
AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
CLASSES = ("N", "S", "V", "F")
DISEASE = ("S", "V", "F")

#: Beat annotations of the WFDB standard that are in none of these classes.
OUTSIDE_AAMI = "Bnr?"

UNCLASSIFIABLE = "paced, fusion of paced and normal, or unclassifiable (Q)"
NEAR_END = f"fewer than {WINDOW // 2} samples from an end of the record"
INVALID = "the signal has gaps (invalid samples) there"
FLAT = "the signal is flat there, so that it cannot be scaled"
NOT_AAMI = "a beat annotation that is in no AAMI class here"

_CLASS_OF = {symbol: name for name, symbols in AAMI.items() for symbol in symbols}


@dataclass(frozen=True, eq=False)
class Beats:
    """The beats of one lead.

    Attributes:
        x: channels, the beat alone or what was asked for, float32 ``[B, C, 280]``.
        rows: which of the peaks each belongs to, int64 ``[B]``.
        faults: why a peak gave no beat ``[P]``; "" where it gave one.
    """

    x: Tensor
    rows: NDArray[np.int64]
    faults: tuple[str, ...]


def label_of(symbol: str) -> str | None:
    """Give the class of an annotation; Q where it is of none that is kept, None where it marks no beat of a class."""
    return _CLASS_OF.get(symbol)


def fault_of(symbol: str) -> str | None:
    """Say why an annotation gives no beat of a class, "" where it gives one; None where it marks no beat at all."""
    if symbol in OUTSIDE_AAMI:
        return NOT_AAMI
    label = _CLASS_OF.get(symbol)
    return None if label is None else UNCLASSIFIABLE if label == "Q" else ""


def cut_annotated(
    signal: Tensor, marks: Annotations, inputs: Sequence[str] = ("beat",), second: Tensor | None = None
) -> tuple[Beats, list[str]]:
    """Cut the annotated beats of a lead.

    Args:
        signal: one lead at 360 Hz, ``[T]``, float64.
        marks: what somebody marked in it; what is no beat is passed over.
        inputs: channels of each beat, of ``salus.preprocessing.context.CHANNELS``.
        second: another lead ``[T]``, for the channels that need one.

    Returns:
        The beats, and for every mark of a beat its class or, where it has none, its symbol ``[P]``.
    """
    beats = [row for row, symbol in enumerate(marks.symbols) if fault_of(symbol) is not None]
    symbols = [marks.symbols[row] for row in beats]
    reasons = [fault_of(symbol) or "" for symbol in symbols]
    labels = [_CLASS_OF.get(symbol, symbol) for symbol in symbols]
    return cut(signal, marks.samples[beats], inputs, reasons, second), labels


def cut(
    signal: Tensor,
    peaks: NDArray[np.int64],
    inputs: Sequence[str] = ("beat",),
    reasons: Sequence[str] = (),
    second: Tensor | None = None,
) -> Beats:
    """Cut a window around each R peak and scale it by its own lowest and highest value; differentiable in the signal.

    Args:
        signal: one lead at 360 Hz, ``[T]``, float64; NaN in gaps.
        peaks: every beat, in samples ``[P]``.
        inputs: channels of each beat, of ``salus.preprocessing.context.CHANNELS``.
        reasons: why a peak is to give no beat although it is one ``[P]``; "" where it is to give one.
        second: another lead ``[T]``, for the channels that need one; a beat across a gap of it is not kept either.
    """
    faults = np.array(reasons, dtype=object) if len(reasons) else np.full(len(peaks), "", dtype=object)
    starts = peaks - WINDOW // 2
    fits = (starts >= 0) & (starts + WINDOW <= len(signal))
    faults[~fits & (faults == "")] = NEAR_END
    rows = np.flatnonzero(faults == "")
    if not len(rows):
        return Beats(torch.empty(0, len(inputs), WINDOW), rows, tuple(faults.tolist()))
    windows = signal.detach().unfold(0, WINDOW, 1)[torch.from_numpy(starts[rows])]  # [fits, 280]
    low, high = windows.amin(1).numpy(), windows.amax(1).numpy()
    gaps = ~np.isfinite(low + high)
    if second is not None:
        gaps |= ~second.detach().unfold(0, WINDOW, 1)[torch.from_numpy(starts[rows])].isfinite().all(1).numpy()
    faults[rows] = np.select([gaps, low == high], [INVALID, FLAT], "")
    rows = np.flatnonzero(faults == "")
    if not len(rows):
        return Beats(torch.empty(0, len(inputs), WINDOW), rows, tuple(faults.tolist()))
    x = surroundings(signal, peaks, rows, WINDOW, inputs, second)
    return Beats(x, rows, tuple(faults.tolist()))


def input_notes(inputs: Sequence[str]) -> list[str]:
    """Say what the channels are, where there is more than the beat."""
    if tuple(inputs) == ("beat",):
        return []
    return ["channels: " + "; ".join(f"{name}: {CHANNELS[name]}" for name in inputs)]
