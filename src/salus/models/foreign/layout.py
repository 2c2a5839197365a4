"""Where another's model has the channels, from the shape of the inputs that it states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from salus.errors import ModelError
from salus.models.reading import Inputs, Reading


def laid_out(reading: Reading, shape: list[Any], inputs: Inputs, place: str) -> Reading:
    """Find out where a model has the channels, from the shape of one input that it states (names are any size).

    Raises:
        ModelError: the inputs fit neither way, or both ways and nobody says which.
    """

    def fits(own: tuple[int, ...]) -> bool:
        pairs = zip(shape, own, strict=False)
        return len(shape) == len(own) and all(a == b for a, b in pairs if isinstance(a, int) and a > 0)

    first, last = fits(inputs.shape), fits((*inputs.shape[1:], inputs.shape[0]))
    if not shape or reading.layout is not None or len(inputs.shape) == 1 or (first and not last):
        return reading
    if last and not first:
        return replace(reading, layout="channels-last")
    if first and all(isinstance(size, int) for size in shape) and len(set(shape)) == 1:
        raise ModelError(
            f"{place} takes inputs of shape {shape}, whose channels may stand first or last; say which behind the "
            "model: "
            ":layout=channels-first or :layout=channels-last."
        )
    if first:
        return reading
    raise ModelError(
        f"{place} takes inputs of shape {['any' if not isinstance(size, int) else size for size in shape]}, and "
        "those of "
        f"the data have {list(inputs.shape)}; bring the data that it was trained on (--size, --inputs)."
    )
