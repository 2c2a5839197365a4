"""A guard seen by an attacker who changes raw inputs: grey levels, millivolts; differentiable through preparing."""

from __future__ import annotations

from torch import Tensor

from salus.classifier import States
from salus.errors import DataError, OptionError
from salus.guard import Guard
from salus.preprocessing import Preprocessor


class RawGuard(Guard):
    """A guard whose inputs are raw: tensors in the units that its preprocessor takes.

    Attacks on it search among raw values, with eps in raw units, and what they find is judged as the guard judges raw
    inputs: prepared first, in one piece with its classifier, detectors and purifier.

    Args:
        guard: the guard; its preprocessor takes images (grey levels) or heartbeats (windows in mV).

    Raises:
        OptionError: nobody said how its inputs are made, or its raw values have no unit in common.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard.classifier, guard.detectors, guard.purifier, name=f"{guard.name}, raw")
        preprocessor = guard.preprocessor
        if preprocessor is None:
            raise OptionError(f"How raw inputs become those of guard {guard.name!r} is not known.")
        low, high = preprocessor.raw_bounds
        if low.numel() != 1 or high.numel() != 1:
            raise OptionError(
                f"The raw values of guard {guard.name!r} have no unit in common ({preprocessor.describe()}): no eps "
                "means the same for all; attack prepared inputs, and turn what comes out back by inverse."
            )
        self._prepares: Preprocessor = preprocessor
        self._raw_bounds = (float(low), float(high))

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest raw value."""
        return self._raw_bounds

    def _prepared(self, raw: Tensor) -> Tensor:
        """Prepare ``[N, ...]``, each of them.

        Raises:
            DataError: one cannot be prepared.
        """
        prepared = self._prepares.transform(raw)
        if prepared.refused:
            raise DataError(f"Raw input {prepared.refused[0].name} {prepared.refused[0].reason}.")
        return prepared.x

    def _states(self, x: Tensor) -> States:
        return super()._states(self._prepared(x))
