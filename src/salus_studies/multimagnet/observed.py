"""What the members of a repository make of images, seen once, and kept in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.detectors.multimagnet_calibration import Measured
from salus.detectors.multimagnet_grid import Grid, Measure
from salus.detectors.reconstruction import Metric
from salus.errors import CalibrationError
from salus_studies.multimagnet.published import CHOSEN


def measures(grid: Grid) -> tuple[Measure, ...]:
    """List all that the grid and Table 4 ask for."""
    printed: list[Measure] = [(row.metric, row.temperature) for row in CHOSEN]
    return tuple(dict.fromkeys([*grid.measures, *printed]))


def first(measured: Measured, count: int) -> Measured:
    """Take the first images."""
    labels = None if measured.labels is None else measured.labels[:count]
    values = {each: values[:count] for each, values in measured.values.items()}
    return replace(measured, values=values, labels=labels)


def labels_of(measured: Measured) -> Tensor:
    """Give the labels of the members' reconstructions ``[N, m]``.

    Raises:
        CalibrationError: none were measured, as no measure asked for them.
    """
    if measured.labels is None:
        raise CalibrationError("The grid has no divergence (jsd), so no member's labels were measured; give it one.")
    return measured.labels


def mixed(changed: Tensor, attacked: Measured, clean: Measured) -> Measured:
    """Take what was measured on the attacked image where ``changed [N]``, and on the clean one elsewhere."""
    where = changed[:, None]
    values = {each: torch.where(where, attacked.values[each], clean.values[each]) for each in attacked.values}
    return replace(clean, values=values, labels=torch.where(where, labels_of(attacked), labels_of(clean)))


def write(path: Path, measured: Measured) -> None:
    """Store what was measured.

    Raises:
        StoreError: the place is not writable.
    """
    tensors = {_name(each): values for each, values in measured.values.items()}
    if measured.labels is not None:
        tensors["labels"] = measured.labels
    atomic.write_tensors(path, tensors)


def read(path: Path, members: Sequence[str]) -> Measured:
    """Read it back, on the CPU."""
    tensors = load_safetensors(path.read_bytes())
    labels = tensors.pop("labels", None)
    return Measured(tuple(members), {_measure(name): values for name, values in tensors.items()}, labels)


def _name(measure: Measure) -> str:
    metric, temperature = measure
    return metric if temperature is None else f"{metric}|{temperature!r}"


def _measure(name: str) -> Measure:
    metric, _, temperature = name.partition("|")
    known: Metric = "re" if metric == "re" else "jsd"
    return known, float(temperature) if temperature else None
