"""The order of axes: what looks like ``[N, H, W, C]`` or ``[N, L, C]`` is not read as ``[N, C, ...]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from salus.errors import DataError
from salus.progress import console

#: What images have of channels; no picture is so narrow.
CHANNELS = (1, 3, 4)

#: The most leads that a recording is thought to have, and the fewest moments.
MOST_LEADS, FEWEST_MOMENTS = 15, 50


def check_axes(x: NDArray[Any], key: str, path: Path) -> list[str]:
    """Refuse axes that are surely in another order, and say how those are read that could be meant in two ways.

    Args:
        x: samples, which ought to be ``[N, F]``, ``[N, C, L]`` or ``[N, C, H, W]``.
        key: the name of the array.
        path: of the file.

    Raises:
        DataError: the channels are the last axis.
    """
    shape = list(x.shape)
    if x.ndim == 4 and shape[3] in CHANNELS and shape[1] > max(CHANNELS):
        if shape[2] > shape[3]:
            narrow = f", or if they are signals, {key}[..., 0]" if shape[3] == 1 else ""
            raise DataError(
                f"File {path}: {key} has shape {shape}, which looks like [N, H, W, C]; Salus reads [N, C, H, W]: save "
                f"numpy.transpose({key}, (0, 3, 1, 2)){narrow}."
            )
        return _say(
            f"{key} of shape {shape} was read as images of {shape[1]} channels and {shape[2]}x{shape[3]} pixels; if "
            f"the channels are the last axis, save numpy.transpose({key}, (0, 3, 1, 2))",
            path,
        )
    if x.ndim != 3 or shape[1] == 1:
        return []
    sure = shape[2] <= MOST_LEADS and shape[1] >= max(FEWEST_MOMENTS, 4 * shape[2])
    if shape[2] == 1 or sure:
        raise DataError(
            f"File {path}: {key} has shape {shape}, which looks like [N, L, C]; Salus reads [N, C, L]: save "
            f"numpy.transpose({key}, (0, 2, 1))."
        )
    if shape[1] > shape[2]:
        return _say(
            f"{key} of shape {shape} was read as signals of {shape[1]} channels and {shape[2]} moments; if the "
            f"channels are the last axis, save numpy.transpose({key}, (0, 2, 1))",
            path,
        )
    if 2 * shape[1] >= shape[2] and shape[1] > MOST_LEADS:
        return _say(
            f"{key} of shape {shape} was read as signals of {shape[1]} channels and {shape[2]} moments; if these are "
            f"grey images, save {key}[:, None]",
            path,
        )
    return []


def _say(sentence: str, path: Path) -> list[str]:
    console.print(f"WARNING: {path.name}: {sentence}.", markup=False)
    return [sentence]
