"""What callers hand in, tensors, arrays or lists, as one-dimensional numpy arrays of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Values: TypeAlias = "Tensor | NDArray[Any] | Sequence[Any]"


def flat(values: Values, name: str) -> NDArray[Any]:
    """Copy a tensor, array or list of one dimension to numpy, wherever it lies.

    Raises:
        DataError: it has more than one dimension, or holds NaN.
    """
    array = np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)
    if array.ndim != 1:
        raise DataError(f"{name} must be one value per sample, but it has shape {list(array.shape)}.")
    if array.dtype.kind == "f" and bool(np.isnan(array).any()):
        raise DataError(f"{name} holds NaN at position {int(np.isnan(array).argmax())}.")
    return array


def check_lengths(names: str, *arrays: NDArray[Any]) -> None:
    """Check that arrays, named in one string for the message, have one length.

    Raises:
        DataError: they differ.
    """
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise DataError(f"{names} must have one value per sample each, but their lengths are {lengths}.")
