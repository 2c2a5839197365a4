"""Dealing samples to train, validation, calibration and test: by class, or by whole patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError

Indices = NDArray[np.int64]
Parts = dict[str, Indices]

PARTS = ("train", "validation", "calibration", "test")

#: How independent samples are dealt, unless the papers say otherwise.
SHARES: Mapping[str, float] = {"train": 0.5, "validation": 0.1, "calibration": 0.2, "test": 0.2}

#: How many random deals of patients are compared; the one nearest to the asked class shares is kept.
DEALS = 300


#: The name of the split by :func:`all_test`.
ALL = "all"


def all_test(count: int) -> Parts:
    """Deal every sample to the test part, for a model that was trained elsewhere."""
    return {part: np.arange(count if part == "test" else 0) for part in PARTS}


def stratified(y: Indices, classes: Sequence[str], shares: Mapping[str, float], *, seed: int, name: str) -> Parts:
    """Deal independent samples so that every part holds every class in its share.

    A class's draw depends on the seed and on that class alone.

    Args:
        y: labels ``[N]``.
        classes: class names.
        shares: part -> its share; the part ``train`` takes what rounding leaves.
        seed: of the draw.
        name: of the data, for messages.

    Raises:
        DataError: a class is empty, or has fewer samples than there are parts.
    """
    dealt: dict[str, list[Indices]] = {part: [] for part in shares}
    for index, label in enumerate(classes):
        members = np.flatnonzero(y == index)
        if len(members) == 0:
            raise DataError(f"Data {name!r}: class {label!r} is empty; leave its name out or add samples.")
        if len(members) < len(shares):
            raise DataError(
                f"Data {name!r}: class {label!r} has {len(members)} sample{'s' * (len(members) > 1)}, too "
                f"few to split into {', '.join(shares)}; add samples or leave the class out."
            )
        order = np.random.default_rng([seed, index]).permutation(members)
        start = 0
        for part in reversed([part for part in shares if part != "train"]):
            stop = start + max(1, round(shares[part] * len(members)))
            dealt[part].append(order[start:stop])
            start = stop
        dealt["train"].append(order[start:])
    return {part: np.sort(np.concatenate(pieces)) for part, pieces in dealt.items()}


def grouped(
    y: Indices,
    groups: Indices,
    classes: Sequence[str],
    shares: Mapping[str, float],
    *,
    seed: int,
    name: str,
    word: str = "patient",
) -> Parts:
    """Deal whole patients, so that nobody is on two sides, as near to the class shares as random deals come.

    Every class is in training. The other parts may lack a class that few patients carry. ``word`` says what the groups
    are where they are no patients.

    Raises:
        DataError: a class is empty, there are fewer patients than parts, or too few for the classes.
    """
    patients, member = np.unique(groups, return_inverse=True)
    table = np.zeros((len(patients), len(classes)))  # [patients, K] samples
    np.add.at(table, (member, y), 1)
    for index in np.flatnonzero(table.sum(0) == 0):
        raise DataError(f"Data {name!r}: class {classes[int(index)]!r} is empty; leave its name out or add samples.")
    if len(patients) < len(shares):
        raise DataError(
            f"Data {name!r} come from {len(patients)} {word}{'s' * (len(patients) > 1)} (groups), too few "
            f"to split into {', '.join(shares)} without having one on two sides; bring more {word}s."
        )
    sizes = {part: max(1, round(share * len(patients))) for part, share in shares.items() if part != "train"}
    sizes = {"train": len(patients) - sum(sizes.values()), **sizes}
    cuts = np.cumsum(list(sizes.values()))[:-1]
    targets = np.array([[shares[part]] for part in sizes])  # [parts, 1]

    rng = np.random.default_rng(seed)
    best: tuple[int, int, float] | None = None
    choice: list[Indices] = []
    for _ in range(DEALS):
        deal = np.split(_cover_classes_first(rng.permutation(len(patients)), table), cuts)
        counts = np.stack([table[part].sum(0) for part in deal])  # [parts, K]
        distance = float(np.abs(counts / counts.sum(0) - targets).sum())
        cost = (int((counts[0] == 0).sum()), int((counts == 0).sum()), distance)
        if best is None or cost < best:
            best, choice = cost, deal
    lacking = [label for label, count in zip(classes, table[choice[0]].sum(0), strict=True) if count == 0]
    if lacking:
        raise DataError(
            f"Data {name!r}: {len(patients)} {word}s are too few to have every class in training "
            f"({lacking[0]!r} would be missing); bring more {word}s or fewer classes."
        )
    return {part: np.flatnonzero(np.isin(member, held_by)) for part, held_by in zip(sizes, choice, strict=True)}


def gaps(y: Indices, classes: Sequence[str], parts: Parts) -> list[str]:
    """Say in words which part lacks which class."""
    return [
        f"no sample of class {label} in {part}"
        for part, rows in parts.items()
        if len(rows)
        for index, label in enumerate(classes)
        if not bool((y[rows] == index).any())
    ]


def describe_shares(shares: Mapping[str, float]) -> str:
    """Shares as a reader expects them: '50% train, 10% validation, ...'."""
    return ", ".join(f"{share:.0%} {part}" for part, share in shares.items())


def _cover_classes_first(order: Indices, table: NDArray[np.float64]) -> Indices:
    """Move patients who together carry every class to the front, where training takes them."""
    present = table[order] > 0  # [patients, K]
    first: list[int] = []
    for label in np.argsort(present.sum(0), kind="stable"):  # the rarest class first
        if not present[first, label].any():
            first.append(int(present[:, label].argmax()))
    rest = np.delete(np.arange(len(order)), first)
    result: Indices = order[np.concatenate([np.array(first, dtype=np.int64), rest])]
    return result
