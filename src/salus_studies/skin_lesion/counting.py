"""Counting cells: the thesis's figures of a guard's answers, and those answers, one digit for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus import atomic
from salus.attacks import UAP, Attack, Evaluation, Objective, SideObjective
from salus.attacks.draws import uniform
from salus.attacks.objective import cross_entropy
from salus.audit.cell import Cell
from salus.audit.measure import measure_cell
from salus.data import Dataset
from salus.guard import Guard
from salus.metrics import thesis_figures
from salus.threats.objectives import GuardObjective
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.art_universal import fit_as_published

#: Images of each attack that are drawn on the page.
PICTURES = 3

#: How far copies are jittered over which an attacker averages, in the units of an image.
_JITTER = 1 / 255

_KEPT = ("attack_success_rate", "eps", "queries", "passes", "distance_median", "variants")


@dataclass(frozen=True, eq=False)
class Aimed:
    """A cell that no audit has: who knows all, and wants something else than any wrong answer, or goes another way.

    Attributes:
        data: the samples.
        guard: what is attacked.
        attack: the engine.
        name: ``fgsm-harm``, ``pgd-harm``, ``uap-benign``, ``uap-malignant``, ``uap-art``, ``pgd-eot`` or ``pgd``.
        fit: what a universal perturbation is fitted to.
        copies: over which gradients are averaged, for ``pgd-eot``.
    """

    data: Dataset
    guard: Guard
    attack: Attack
    name: str
    fit: Dataset | None = None
    copies: int = 1

    def x_adv(self) -> Tensor:
        """Attack."""
        x, y = self.data.x, self.data.y
        if self.name == "uap-art" and isinstance(self.attack, UAP) and self.fit is not None:
            return fit_as_published(self.guard.classifier, self.fit, self.attack.eps, self.attack.seed)(x)
        positive = ill_classes(self.data)
        if self.name.endswith("harm"):
            return self.attack(self._sides(positive), x, y)
        if self.name.startswith("uap-") and isinstance(self.attack, UAP) and self.fit is not None:
            ill = torch.isin(self.fit.y, torch.tensor(positive, device=self.fit.y.device))
            rows = (ill if self.name == "uap-benign" else ~ill).nonzero()[:, 0]
            return self.attack.fit(self._sides(positive), self.fit.x[rows], self.fit.y[rows])(x)
        objective: Objective = GuardObjective(self.guard)
        if self.name == "pgd-eot":
            objective = OverCopies(self.guard, self.copies, self.attack.seed)
        return self.attack(objective, x, y)

    def _sides(self, positive: Sequence[int]) -> SideObjective:
        if self.guard.bare:
            return SideObjective(self.guard.classifier, positive)
        return SideObjective(lambda x: self.guard.view(x).logits, positive, (self.guard.classifier,))


class OverCopies(GuardObjective):
    """Raise the mean loss over slightly jittered copies (EOT), so that one step of WebP's rounding decides nothing.

    Args:
        guard: the guard.
        copies: how many, beside the point itself.
        seed: of the jitter.
    """

    def __init__(self, guard: Guard, copies: int, seed: int) -> None:
        super().__init__(guard)
        self.copies, self.seed, self._looks = copies, seed, 0

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Look at the point, which decides success, and at the copies."""
        seen = super().evaluate(x, y)
        if not x.requires_grad:
            return seen
        losses = [seen.loss]
        for copy in range(self.copies):
            self._looks += 1
            rows = torch.arange(len(x), device=x.device)
            drawn = uniform(self.seed + copy, rows, tuple(x.shape[1:]), self._looks).to(x)
            shifted = (x + _JITTER * (2 * drawn - 1)).clamp(*self.guard.bounds)
            losses.append(cross_entropy(self.guard.view(shifted).logits, y))
        loss = torch.stack(losses).mean(0)
        return Evaluation(seen.logits, y, loss=loss, margin=seen.margin, success=seen.success)


def count(cell: Cell | Aimed, rows: Sequence[int] | None = None) -> dict[str, Any]:
    """Compute a cell, and the thesis's figures of its answers.

    Args:
        cell: what is counted.
        rows: which of all test images these are; None for all of them.
    """
    return _count(cell, rows)[0]


def count_and_show(folder: Path, name: str, cell: Cell | Aimed, rows: Sequence[int] | None = None) -> dict[str, Any]:
    """Do the same, and keep a few of its images in a file of the folder."""
    content, x_adv, before, after = _count(cell, rows)
    _write_pictures(folder / name, cell.data, x_adv, before, after)
    return content


def _count(cell: Cell | Aimed, rows: Sequence[int] | None) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
    """Compute a cell; give what is kept of it, the attacked images, and the answers before the attack and after."""
    data, clean = cell.data, cell.guard(cell.data.x)
    facts: dict[str, Any] = {}
    attacked = True
    if isinstance(cell, Aimed):
        x_adv = cell.x_adv()
        labels = cell.guard(x_adv).answers
        facts = {"eps": cell.attack.eps}
    else:
        parts: list[dict[str, Tensor]] = []
        record = measure_cell(cell, clean, lambda piece: parts.append(dict(piece)))
        facts = {name: record.get(name) for name in _KEPT if record.get(name) is not None}
        labels = torch.cat([part["label"] for part in parts])
        attacked = cell.attempt is not None
        x_adv = torch.cat([part["x_adv"] for part in parts]) if attacked else data.x
    figures = thesis_figures(
        data.y,
        labels,
        data.classes,
        published.POSITIVE,
        clean_labels=clean.answers if attacked else None,
        groups=data.groups,
    )
    content = {
        "figures": figures,
        **facts,
        "n": len(data),
        "answers": "".join(str(label) for label in labels.tolist()),
        "rows": None if rows is None else list(rows),
    }
    return content, x_adv, clean.answers, labels


def ill_classes(data: Dataset) -> list[int]:
    """List the classes that mean disease, by the medical map."""
    return [data.classes.index(name) for name in published.POSITIVE["medical"]]


def drawn_rows(data: Dataset, most: int | None, seed: int) -> list[int] | None:
    """Draw so many images at natural prevalence, None for all; tables list images class by class."""
    if most is None or most >= len(data):
        return None
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    rows: list[int] = order[:most].sort().values.tolist()
    return rows


def even_rows(data: Dataset, each: int, seed: int) -> list[int]:
    """Draw so many images of each class, all where it has fewer."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    y = data.y.cpu()[order]
    picked = torch.cat([order[(y == label).nonzero()[:, 0][:each]] for label in range(len(data.classes))])
    rows: list[int] = picked.sort().values.tolist()
    return rows


def taken(data: Dataset, rows: Sequence[int] | None) -> Dataset:
    """Take the images at these places; all for None."""
    return data if rows is None else data.subset(torch.tensor(rows))


def moved(data: Dataset, device: str) -> Dataset:
    """Bring data to a device."""
    return data if device == "cpu" else replace(data, x=data.x.to(device), y=data.y.to(device))


def _write_pictures(path: Path, data: Dataset, x_adv: Tensor, before: Tensor, after: Tensor) -> None:
    """Keep malignant images that were found and are missed, then others that were right and are wrong."""
    ill = torch.tensor(ill_classes(data), device=data.y.device)
    fooled = (before == data.y) & (after != data.y)
    missed = fooled & torch.isin(data.y, ill) & ~torch.isin(after, ill)
    rows = torch.cat([missed.nonzero()[:, 0], (fooled & ~missed).nonzero()[:, 0]])[:PICTURES]
    kept = {
        "clean": data.x[rows],
        "attacked": x_adv[rows],
        "y": data.y[rows],
        "before": before[rows],
        "after": after[rows],
    }
    atomic.write_tensors(path, {name: value.cpu().contiguous() for name, value in kept.items()})
