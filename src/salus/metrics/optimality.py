"""How near an attack comes to the best that is known: optimality (AttackBench, Cinà et al., AAAI 2025).

Everything is computed from one distance a sample: the size of the smallest change by which an attack fools the model
there, 0 where the model is wrong from the start, infinite where the attack never fools it. The curve of robust accuracy
over the size of change is then a falling staircase, which has a step at each distance.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.metrics.arrays import Values, check_lengths, flat

Floats = NDArray[np.float64]


def robust_accuracy_curve(distances: Values, sizes: Values) -> Floats:
    """Compute the share of samples that stand at each size of change: those whose distance is greater.

    Args:
        distances: ``[N]``, of the smallest change that fools the model.
        sizes: ``[M]``, where the curve is read.

    Returns:
        The curve ``[M]``.
    """
    ordered = np.sort(_distances(distances))
    fallen = np.searchsorted(ordered, flat(sizes, "sizes"), side="right")
    return np.asarray(1 - fallen / len(ordered), dtype=np.float64)


def area_under_curve(distances: Values, limit: float) -> float:
    """Compute the area under the curve of robust accuracy from 0 to ``limit``: the mean distance, cut there."""
    if not np.isfinite(limit) or limit < 0:
        raise DataError(f"limit must be a finite size of change from 0 up, not {limit}.")
    return float(np.minimum(_distances(distances), limit).mean())


def union(distances: Iterable[Values]) -> Floats:
    """Join attacks on the same samples: each sample's smallest distance over all of them, ``[N]``."""
    columns = [_distances(each) for each in distances]
    if not columns:
        raise DataError("A union needs the distances of one attack at least.")
    check_lengths("The attacks' distances", *columns)
    return np.asarray(np.minimum.reduce(columns), dtype=np.float64)


def on_grid(distances: Values, grid: Values) -> Floats:
    """Round each distance up to the next size of a grid; infinite beyond the last.

    So a curve is read that is known at these sizes alone, that of an attack with a fixed eps: a sample's distance is
    the smallest eps at which it falls.

    Args:
        distances: ``[N]``.
        grid: ``[M]``, rising sizes above 0. A sample that is wrong from the start stays at 0.
    """
    sizes = np.asarray(flat(grid, "grid"), dtype=np.float64)
    if len(sizes) == 0 or sizes[0] <= 0 or bool((np.diff(sizes) <= 0).any()):
        raise DataError(f"grid must be rising sizes of change above 0, not {sizes.tolist()}.")
    steps = np.concatenate([[0.0], sizes, [np.inf]])
    return np.asarray(steps[np.searchsorted(steps, _distances(distances), side="left")], dtype=np.float64)


def optimality(distances: Values, best: Values) -> float:
    """Compare an attack with the best that is known of a model: 1 is as good, 0 is no attack at all.

    AttackBench's local optimality, ``1 - (A(a) - A(best)) / (rho eps_0 - A(best))``, where ``A`` is the area under the
    curve of robust accuracy from 0 to ``eps_0``, ``rho`` is the clean accuracy, and ``eps_0`` is the size of change
    from which on the best curve falls no further: the largest finite distance in ``best``. So beyond ``eps_0`` nothing
    counts. Samples that nobody fools add the same to all three areas and cancel out; samples that are wrong from the
    start add nothing to any. AttackBench's code joins the steps of the curve by straight lines; this is the area of
    the staircase itself. Its global optimality is the mean over models.

    For an attack with a fixed eps hand in both ``on_grid``: its curve is known there alone.

    Args:
        distances: ``[N]``, of the attack.
        best: ``[N]``, of the :func:`union` of all attacks, this one among them.

    Returns:
        A value in 0 to 1; 1 where there is nothing to gain, because every sample falls at 0 or none is ever fooled.

    Raises:
        DataError: the attack is nearer than the best on some sample, so ``best`` is no union of all attacks.
    """
    own, least = _distances(distances), _distances(best)
    check_lengths("distances and best", own, least)
    if bool((own < least).any()):
        place = int((own < least).argmax())
        raise DataError(
            f"distances are below the best at sample {place} ({own[place]:g} < {least[place]:g}); "
            "best must be the union of all attacks, this one among them."
        )
    finite = least[np.isfinite(least)]
    limit = float(finite.max()) if len(finite) else 0.0
    lost = np.minimum(own, limit) - np.minimum(least, limit)
    room = np.where(least > 0, limit, 0.0) - np.minimum(least, limit)
    return 1.0 if not room.any() else float(1 - lost.sum() / room.sum())


def _distances(values: Values) -> Floats:
    distances = np.asarray(flat(values, "distances"), dtype=np.float64)
    if len(distances) == 0:
        raise DataError("distances must hold one sample at least.")
    if bool((distances < 0).any()):
        place = int((distances < 0).argmax())
        raise DataError(f"distances must be 0 or more, but sample {place} has {distances[place]:g}.")
    return distances
