"""What every attack shares: settings, checks, batches, and what it reports."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from salus.attacks.ball import NormName, ball
from salus.attacks.objective import LogitObjective, Model, Objective, frozen
from salus.attacks.search import Search
from salus.errors import DataError, ModelError, OptionError


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found for each of N samples.

    Attributes:
        x_adv: the attacked samples ``[N, ...]``.
        success: bool ``[N]``, the attacker's goal is reached at ``x_adv``.
        distance: float64 ``[N]``, from the clean sample in the attack's norm.
        queries: int64 ``[N]``, forward passes that the sample took part in.
        passes: int64 ``[N]``, those of them that were followed by a backward pass.
    """

    x_adv: Tensor
    success: Tensor
    distance: Tensor
    queries: Tensor
    passes: Tensor


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Turns clean samples into adversarial ones of the same shape, inside the bounds and its own norm ball.

    Attributes:
        eps: radius of the ball, in the units of x.
        norm: ``"linf"`` or ``"l2"``.
        bounds: lowest and highest value of x.
        seed: decides every random draw, together with a sample's index.
        targeted: ``y`` is the class to reach, not the one to leave.
        mask: which values may change: bool, shaped like one sample or broadcastable to it (tensor, array or
            nested sequence; kept as nested tuples, so that an attack stays hashable).
        units: for tables with integer features, the size of one unit of each, 0 where continuous.
        batch_size: samples attacked side by side.

    Raises:
        OptionError: an option has a value that makes no sense.
    """

    name: ClassVar[str]
    #: The attack reads its objective's loss or margin alone, so threat models can turn it on a guard.
    adaptive: ClassVar[bool] = True

    eps: float
    norm: NormName = "linf"
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    targeted: bool = False
    mask: Any = field(default=None, repr=False)
    units: tuple[float, ...] | None = field(default=None, repr=False)
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise OptionError(f"{self.title}: norm must be 'linf' or 'l2', not {self.norm!r}.")
        object.__setattr__(self, "bounds", tuple(self.bounds))
        if len(self.bounds) != 2 or not self.bounds[0] < self.bounds[1]:
            raise OptionError(f"{self.title}: bounds must be (lowest, highest), not {self.bounds!r}.")
        width = self.bounds[1] - self.bounds[0]
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise OptionError(f"{self.title}: eps must be a number from 0 up, not {self.eps}.")
        if self.norm == "linf" and self.eps > width:
            raise OptionError(
                f"{self.title}: eps={self.eps:g} is more than the whole range of values, {width:g} wide; "
                f"eps is in the units of x (8/255 = {8 / 255:.4f} for images in 0 to 1)."
            )
        if self.batch_size < 1:
            raise OptionError(f"{self.title}: batch_size must be at least 1, not {self.batch_size}.")
        if self.mask is not None:
            object.__setattr__(self, "mask", _tuples(self.mask))
        if self.units is not None:
            object.__setattr__(self, "units", tuple(map(float, self.units)))
            if not all(math.isfinite(unit) and unit >= 0 for unit in self.units):
                raise OptionError(f"{self.title}: units must be numbers from 0 up, not {self.units}.")

    @property
    def title(self) -> str:
        """The attack's name in sentences."""
        return type(self).__name__

    def __call__(self, model: Model | Objective, x: Tensor, y: Tensor) -> Tensor:
        """Attack x ``[N, ...]`` with labels (or targets) y ``[N]`` and return ``x_adv``; see :meth:`run`."""
        return self._run(model, x, y, judge=False).x_adv

    def run(
        self,
        model: Model | Objective,
        x: Tensor,
        y: Tensor,
        *,
        start: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> AttackResult:
        """Attack x and report what was reached and what it cost.

        Args:
            model: a callable from a batch to logits, or an objective (what a threat model makes of a guard).
            x: clean samples ``[N, ...]`` inside the bounds; never written to.
            y: int64 ``[N]``, true labels, or targets.
            start: points to start from instead of x or of a random point, ``[N, ...]``.
            progress: called with the number of samples done after each batch.

        Raises:
            ModelError: the model's bounds disagree, or it returned NaN or something that is no logits.
            DataError: x or y do not fit each other or the bounds.
            OptionError: an option does not fit these samples.
        """
        return self._run(model, x, y, start=start, progress=progress)

    @abstractmethod
    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Move the search's active samples; the one thing in which attacks differ."""

    @property
    def _early_stop(self) -> bool:
        return bool(getattr(self, "early_stop", False))

    def _run(
        self,
        model: Model | Objective,
        x: Tensor,
        y: Tensor,
        *,
        start: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
        judge: bool = True,
    ) -> AttackResult:
        objective = model if isinstance(model, Objective) else LogitObjective(model, targeted=self.targeted)
        self._check(objective, x, y, start)
        mask, units = self._constraints(x)
        parts: list[AttackResult] = []
        # Gradients are needed even where the caller has switched them off.
        with torch.inference_mode(False), frozen(*objective.modules):
            for first in range(0, len(x), self.batch_size):
                rows = slice(first, first + self.batch_size)
                clean, labels = _usable(x[rows]), _usable(y[rows])
                region = ball(self.norm, clean, self.eps, self.bounds, mask, units)
                samples = torch.arange(first, first + len(region.x), device=x.device)
                search = Search(objective, region, labels, samples, early_stop=self._early_stop)
                self.perturb(search, None if start is None else region.project(start[rows].detach()))
                if judge:
                    search.judge()
                distance = region.distance(search.x_adv)
                parts.append(AttackResult(search.x_adv, search.success, distance, search.queries, search.passes))
                if progress is not None:
                    progress(len(region.x))
        names = ("x_adv", "success", "distance", "queries", "passes")
        return AttackResult(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _check(self, objective: Objective, x: Tensor, y: Tensor, start: Tensor | None) -> None:
        stated = objective.bounds
        if stated is not None and not _same(stated, self.bounds):
            raise ModelError(
                f"{self.title} has bounds {self.bounds}, but the model says {stated}; give the attack the model's."
            )
        if x.ndim < 2 or x.numel() == 0 or x.dtype not in (torch.float32, torch.float64):
            raise DataError(f"{self.title}: x must be float32 [N, ...] with N > 0, not {x.dtype} {list(x.shape)}.")
        if y.shape != x.shape[:1] or y.dtype != torch.int64:
            raise DataError(f"{self.title}: y must be int64 [{len(x)}], not {y.dtype} {list(y.shape)}.")
        if int(y.min()) < 0:
            raise DataError(f"{self.title}: label {int(y.min())} is negative.")
        low, high = torch.tensor(self.bounds, dtype=x.dtype).tolist()
        flat = x.flatten(1)
        inside = ((flat >= low) & (flat <= high)).all(1)  # False for NaN too
        if not bool(inside.all()):
            sample = int((~inside).nonzero()[0])
            raise DataError(f"{self.title}: sample {sample} has values outside the bounds {self.bounds}, or NaN.")
        if start is not None and (start.shape != x.shape or bool(start.isnan().any())):
            raise DataError(f"{self.title}: start must be shaped like x, {list(x.shape)}, without NaN.")
        diagonal = (self.bounds[1] - self.bounds[0]) * math.sqrt(flat.shape[1])
        if self.norm == "l2" and self.eps > diagonal:
            raise OptionError(f"{self.title}: eps={self.eps:g} is longer than the diagonal of the space, {diagonal:g}.")

    def _constraints(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        mask = None
        if self.mask is not None:
            try:
                mask = torch.tensor(self.mask, dtype=torch.bool, device=x.device).broadcast_to(x.shape[1:])
            except (RuntimeError, ValueError) as error:
                raise OptionError(f"{self.title}: mask does not fit samples {list(x.shape[1:])}.") from error
        units = None
        if self.units is not None and any(self.units):
            units = torch.tensor(self.units, dtype=torch.float64, device=x.device)
            if x.ndim != 2 or units.shape != x.shape[1:]:
                raise OptionError(f"{self.title}: {len(units)} units do not fit samples {list(x.shape[1:])}.")
        return mask, units


def _usable(part: Tensor) -> Tensor:
    # Tensors made in inference mode cannot take part in gradients; a copy can.
    return part.clone() if part.is_inference() else part.detach()


def _same(stated: tuple[float, float], given: tuple[float, float]) -> bool:
    # Models often keep their bounds in a float32 buffer.
    return torch.equal(torch.tensor(stated, dtype=torch.float32), torch.tensor(given, dtype=torch.float32))


def _tuples(mask: Any) -> Any:
    values = mask.tolist() if hasattr(mask, "tolist") else mask
    return tuple(map(_tuples, values)) if isinstance(values, (list, tuple)) else bool(values)
