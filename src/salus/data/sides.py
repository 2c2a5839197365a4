"""Dealing samples of which some are set apart already: for validation, for testing, or for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from salus.data.groups import Groups, refuse_shared
from salus.data.split import DEALS, SHARES, Indices, Parts, describe_shares, grouped, stratified
from salus.errors import DataError

#: The sides that data may come in, in the order in which they are read.
SIDES = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sided:
    """Samples, and the side on which each was given.

    Attributes:
        y: labels ``[N]``.
        classes: class names.
        sides: of each ``[N]``: ``train``, ``val`` or ``test``; all ``train`` where nothing is set apart.
        groups: their patients; None where they are independent.
        name: of the data, for messages.
        remedy: for a patient who is on two sides, as the end of a sentence.
    """

    y: Indices
    classes: tuple[str, ...]
    sides: Sequence[str]
    groups: Groups | None
    name: str
    remedy: str

    def deal(self, apart: Mapping[str, float], *, seed: int) -> tuple[Parts, str]:
        """Deal the samples, and say in words how.

        A test part that was given stays as it is. ``val`` beside it is halved into validation and calibration; alone
        it is the test part. No patient stands on two sides.

        Args:
            apart: what training, validation and calibration share where a test part is given.
            seed: of the draw.
        """
        if self.groups is not None:
            refuse_shared(self.groups, self.sides, self.remedy, name=self.name)
        side = np.array(self.sides)
        train, val, test = (np.flatnonzero(side == part) for part in SIDES)
        way = "stratified by class" if self.groups is None else f"by patient ({self.groups.rule})"
        if len(val) and len(test):
            by = "class" if self.groups is None else "patient"
            return {"train": train, **self._halved(val, seed), "test": test}, (
                f"train and test as given, val halved by {by} into validation and calibration, seed {seed}"
            )
        given = np.concatenate([val, test])
        shares = apart if len(given) else SHARES
        if self.groups is None:
            dealt = stratified(self.y[train], self.classes, shares, seed=seed, name=self.name)
        else:
            dealt = grouped(self.y[train], self.groups.ids[train], self.classes, shares, seed=seed, name=self.name)
        parts = {part: train[rows] for part, rows in dealt.items()}
        words = f"{way}, seed {seed}: {describe_shares(shares)}"
        if not len(given):
            return parts, words
        start = "val is the test part" if len(val) else "test part as given"
        return {**parts, "test": given}, f"{start}, the rest {words}"

    def _halved(self, val: Indices, seed: int) -> Parts:
        rng = np.random.default_rng(seed)
        if self.groups is None:
            # Every second sample of a shuffled class: each class is halved.
            order = rng.permutation(val)
            order = order[np.argsort(self.y[order], kind="stable")]
            return {"validation": np.sort(order[::2]), "calibration": np.sort(order[1::2])}
        patients, member = np.unique(self.groups.ids[val], return_inverse=True)
        if len(patients) < 2:
            raise DataError(
                f"Data {self.name!r}: the part val holds one patient, and cannot be halved into validation and "
                "calibration; bring more."
            )
        table = np.zeros((len(patients), len(self.classes)))  # [patients, K] samples
        np.add.at(table, (member, self.y[val]), 1)
        deals = [rng.permutation(len(patients))[: (len(patients) + 1) // 2] for _ in range(DEALS)]
        half = min(deals, key=lambda deal: float(np.abs(2 * table[deal].sum(0) - table.sum(0)).sum()))
        first = np.isin(member, half)
        return {"validation": val[first], "calibration": val[~first]}
