"""How a cell's samples are attacked: a part of them at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from salus.attacks import Attack, Perturbation
from salus.attacks.universal import UAP
from salus.batches import rows_held
from salus.data.packed import take
from salus.errors import OptionError
from salus.threats import adaptive, adaptive_universal, decision_only, gray_box, oblivious, transfer, universal_variants
from salus.threats.models import changed

if TYPE_CHECKING:
    from salus.audit.cell import Cell


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack made of n samples.

    Attributes:
        x_adv: ``[n, ...]``.
        queries: int64 ``[n]``, forward passes; None for a universal perturbation, which asks nothing about a sample.
        passes: int64 ``[n]``, those with a backward pass.
        variants: int64 ``[n]``, which of the variants each is of, -1 for none; None where there are no variants.
        names: of the variants.
    """

    x_adv: Tensor
    queries: Tensor | None = None
    passes: Tensor | None = None
    variants: Tensor | None = None
    names: tuple[str, ...] = ()


class Attacker:
    """Attacks the samples of a cell under its threat model.

    What an attacker finds for a sample depends on the samples beside it in two cases alone: a universal perturbation
    is fitted once, to samples of its own; and what hidden states each class has (feature matching) is seen in as many
    clean samples as make a part, evenly spaced, or in all where they are one part.

    Args:
        cell: what is attacked, and under which threat model.
        attack: the cell's.
        say: told what is being done.

    Raises:
        OptionError: a universal perturbation is to reach a class, and none is named.
    """

    def __init__(self, cell: Cell, attack: Attack, say: Callable[[str], None]) -> None:
        self.cell, self.attack, self.say = cell, attack, say
        self.samples, x = len(cell.data), cell.data.x
        self.held = rows_held(x, attack.batch_size)
        self.known = cell.guard if cell.twin is None else cell.twin
        self.done = 0
        self.universal: dict[str, Perturbation] = {}
        if isinstance(attack, UAP):
            self.universal = self._fitted(attack)
        self.shown: Tensor | None = None
        if cell.threat_model == "adaptive" and self.held < self.samples:
            self.shown = take(x, torch.arange(self.held, device=x.device) * self.samples // self.held)

    def parts(self) -> Iterator[Tensor]:
        """Give the positions of the samples of each part, int64 ``[n]``."""
        yield from torch.arange(self.samples, device=self.cell.data.y.device).split(self.held)

    def __call__(self, x: Tensor, y: Tensor, truth: Tensor | None, rows: Tensor) -> Attacked:
        """Attack a part of the samples.

        Args:
            x: clean samples ``[n, ...]``.
            y: their labels, or what the attack aims for ``[n]``.
            truth: true labels where y are targets.
            rows: their positions among the cell's samples ``[n]``.
        """
        cell, attack = self.cell, self.attack
        if self.universal:
            if cell.threat_model not in ("adaptive", "gray-box"):
                return Attacked(self.universal["oblivious"](x))
            x_adv, chosen = adaptive_universal(self.universal, self.known, x, y, targeted=attack.targeted)
            return Attacked(x_adv, variants=chosen, names=tuple(self.universal))
        if attack.time_limit is not None and len(rows) < self.samples:
            attack = changed(attack, time_limit=attack.time_limit * len(rows) / self.samples)
        if cell.threat_model in ("adaptive", "gray-box"):
            options: dict[str, Any] = {"truth": truth, "samples": rows, "progress": self._variant}
            if cell.twin is None:
                result = adaptive(attack, cell.guard, x, y, shown=self.shown, **options)
            else:
                result = gray_box(attack, cell.twin, x, y, **options)
            self.done += len(rows)
            return Attacked(result.x_adv, result.queries, result.passes, result.variants, result.names)
        options = {"samples": rows, "progress": self._progress}
        if cell.threat_model == "transfer":
            assert cell.substitute is not None  # noqa: S101 - planned with one
            found = transfer(attack, cell.substitute, x, y, **options)
        elif cell.threat_model == "decision-only":
            found = decision_only(attack, cell.guard, x, y, **options)
        elif cell.threat_model == "oblivious":
            found = oblivious(attack, cell.guard, x, y, **options)
        else:
            found = attack.run(cell.guard.classifier, x, y, **options)
        return Attacked(found.x_adv, found.queries, found.passes)

    def _fitted(self, attack: UAP) -> dict[str, Perturbation]:
        """Fit one perturbation, or one for each variant, to samples that the cell is not judged on."""
        cell = self.cell
        assert cell.fit is not None  # noqa: S101 - planned with them
        if attack.targeted and cell.target is None:
            raise OptionError("A targeted UAP needs one class to aim for: name it by --target.")
        aim = cell.fit.y
        if attack.targeted and cell.target is not None:
            aim = torch.full_like(aim, cell.target)
        if cell.threat_model in ("adaptive", "gray-box"):
            return universal_variants(attack, self.known, cell.fit.x, aim)
        victim = cell.substitute if cell.threat_model == "transfer" else cell.guard.classifier
        assert victim is not None  # noqa: S101 - planned with one
        return {"oblivious": attack.fit(victim, cell.fit.x, aim)}

    def _progress(self, amount: int) -> None:
        self.done += amount
        self.say(f"{self.cell.title()}: {self.done} of {self.samples} samples")

    def _variant(self, name: str, left: int) -> None:
        many = f", {self.done} of {self.samples} samples done" if self.held < self.samples else ""
        self.say(f"{self.cell.title()}: {name}, {left} still standing{many}")
