"""What every attack shares: settings, checks, batches, and what it reports."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName, ball, by_place
from salus.attacks.cost import Cost
from salus.attacks.objective import LogitObjective, Model, Objective, frozen
from salus.attacks.search import BudgetSpent, Search
from salus.attacks.settings import (
    BatchSize,
    Bounds,
    LargestEps,
    Mask,
    Norm,
    Queries,
    Ranges,
    Seed,
    TimeLimit,
    Units,
)
from salus.attacks.taxonomy import Knowledge
from salus.batches import give_back, rows_at_once
from salus.errors import DataError, ModelError, OptionError
from salus.options import Option, check_fields, written_options


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found for each of N samples.

    Attributes:
        x_adv: the attacked samples ``[N, ...]``.
        success: bool ``[N]``, the attacker's goal is reached at ``x_adv``.
        distance: float64 ``[N]``, from the clean sample in the attack's norm.
        queries: int64 ``[N]``, forward passes that the sample took part in; the final judgement of a result that
            the attacker did not judge is the audit's and not among them.
        passes: int64 ``[N]``, those of them that were followed by a backward pass.
        corrected: bool ``[N]``, where another library's attack left the ball or the bounds, or returned no
            number, and was brought back.
        zero: int64 ``[N]``, those of the passes that gave no direction: the gradient was zero, and nothing won yet.
        nonfinite: int64 ``[N]``, those of the passes whose gradient held infinities or NaN.
        first: what it would have come to, had each sample been let go as soon as it fell; None where nobody asked.
    """

    x_adv: Tensor
    success: Tensor
    distance: Tensor
    queries: Tensor
    passes: Tensor
    corrected: Tensor = None  # type: ignore[assignment]  # nowhere, when left out
    zero: Tensor = None  # type: ignore[assignment]  # as are these
    nonfinite: Tensor = None  # type: ignore[assignment]
    first: AttackResult | None = None

    def __post_init__(self) -> None:
        for name, like in (("corrected", self.success), ("zero", self.passes), ("nonfinite", self.passes)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.zeros_like(like))

    @classmethod
    def joined(cls, parts: Iterable[AttackResult]) -> AttackResult:
        """Put the results of several batches one after another."""
        parts = list(parts)
        firsts = [part.first for part in parts if part.first is not None]
        columns = zip(
            *([value for name, value in vars(part).items() if name != "first"] for part in parts), strict=True
        )
        whole = cls(*(torch.cat(column) for column in columns))  # type: ignore[arg-type]  # all but the last field
        return replace(whole, first=cls.joined(firsts)) if firsts else whole


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Turns clean samples into adversarial ones of the same shape, inside the bounds and its own norm ball.

    Attributes:
        eps: radius of the ball, in the units of x; None for no limit but the bounds, where an attack looks for
            the smallest change. In L0 the number of places that may change: pixels, moments or features.
        norm: ``"linf"``, ``"l2"``, ``"l1"`` or ``"l0"``; most attacks know some of them.
        bounds: lowest and highest value of x.
        seed: decides every random draw, together with a sample's index.
        targeted: ``y`` is the class to reach, not the one to leave.
        mask: which values may change: bool, shaped like one sample or broadcastable to it (tensor, array or
            nested sequence; kept as nested tuples, so that an attack stays hashable).
        units: for tables with integer features, the size of one unit of each, 0 where continuous.
        ranges: for tables, of each feature the lowest and the highest value that it may take, and 1 where it may only
            rise from x, -1 where only fall, 0 where both.
        batch_size: samples attacked side by side.
        queries: most forward passes a sample; None for as many as the attack takes. What is spent ends the
            attack with the best that it has.
        time_limit: most seconds for all samples together, dealt to batches in proportion. What is found then
            depends on the machine.

    Raises:
        OptionError: an option has a value that makes no sense.
    """

    name: ClassVar[str]
    #: What is asked of the victim: its gradients, its logits, or its answers alone.
    knowledge: ClassVar[Knowledge] = "gradients"
    #: Who published it, and where our papers use it.
    paper: ClassVar[str] = ""
    #: How reports write its name, where not as the class's own.
    label: ClassVar[str] = ""
    #: The norms that it knows.
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2", "l1")
    #: It looks for the smallest change, and keeps the nearest success.
    closest: ClassVar[bool] = False
    #: The one threat model that it goes with; None for those of the plan.
    threat_model: ClassVar[str | None] = None
    #: How many dimensions x has where it goes, samples among them; () for any.
    dimensions: ClassVar[tuple[int, ...]] = ()
    #: The attack reads its objective's loss or margin alone, so threat models can turn it on a guard.
    adaptive: ClassVar[bool] = True

    eps: LargestEps
    norm: Norm = "linf"
    bounds: Bounds = (0.0, 1.0)
    seed: Seed = 0
    targeted: Annotated[bool, Field(description="y is the class to reach, not the one to leave")] = False
    mask: Mask = field(default=None, repr=False)
    units: Units = field(default=None, repr=False)
    ranges: Ranges = field(default=None, repr=False)
    batch_size: BatchSize = 256
    queries: Queries = None
    time_limit: TimeLimit = None

    def identity(self) -> dict[str, Any]:
        """Give all that decides what it does, for hashes; ranges only where there are some, as once there were none."""
        known: dict[str, Any] = _without_absent(asdict(self))
        return known

    @classmethod
    def declared_options(cls) -> tuple[Option, ...]:
        """List the options as the fields declare them, the norm as one of those that this attack knows."""
        known: Any = Literal[cls.norms]
        return tuple(
            replace(option, annotation=known) if option.name == "norm" else option for option in written_options(cls)
        )

    def __post_init__(self) -> None:
        check_fields(self, self.title)
        if not self.bounds[0] < self.bounds[1]:
            raise OptionError(f"{self.title}: bounds must be (lowest, highest), not {self.bounds!r}.")
        width = self.bounds[1] - self.bounds[0]
        if self.norm == "linf" and self.eps is not None and self.eps > width:
            raise OptionError(
                f"{self.title}: eps={self.eps:g} is more than the whole range of values, {width:g} wide; "
                f"eps is in the units of x (8/255 = {8 / 255:.4f} for images in 0 to 1)."
            )
        if self.norm == "l0" and self.eps is not None and not float(self.eps).is_integer():
            raise OptionError(
                f"{self.title}: eps counts the pixels, moments or features that may change, so it must be a whole "
                f"number, not {self.eps:g}; give it its own, as in '{self.name}:eps=24'."
            )
        if self.mask is not None:
            object.__setattr__(self, "mask", _tuples(self.mask))

    @property
    def title(self) -> str:
        """The attack's name in sentences."""
        return type(self).__name__

    @property
    def radius(self) -> float:
        """The radius of the ball; infinite without eps."""
        return math.inf if self.eps is None else self.eps

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
        samples: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
        note_first: bool = False,
        judge: bool = True,
    ) -> AttackResult:
        """Attack x and report what was reached and what it cost.

        Args:
            model: a callable from a batch to logits, or an objective (what a threat model makes of a guard).
            x: clean samples ``[N, ...]`` inside the bounds; never written to.
            y: int64 ``[N]``, true labels, or targets.
            start: points to start from instead of x or of a random point, ``[N, ...]``.
            samples: int64 ``[N]``, which samples of a larger whole these are: random draws depend on it. By default
                they are the whole.
            progress: called with the number of samples done after each batch.
            note_first: report each sample's first success too, in ``first``: of an attack without early stop, what it
                would have been with it.
            judge: find out whether points succeed that the attack had no need to judge; where the caller judges all of
                them in another way, these are no success in ``success``.

        Raises:
            ModelError: the model's bounds disagree, or it returned NaN or something that is no logits.
            DataError: x or y do not fit each other or the bounds.
            OptionError: an option does not fit these samples.
        """
        return self._run(
            model, x, y, start=start, samples=samples, progress=progress, note_first=note_first, judge=judge
        )

    def stream(
        self, model: Model | Objective, batches: Iterable[tuple[Tensor, Tensor]], *, first: int = 0
    ) -> Iterator[AttackResult]:
        """Attack data that need not fit into memory, one result for each ``(x, y)`` as it comes.

        Samples are counted through all batches, so that the results are those of one :meth:`run` over all.

        Args:
            model: as for :meth:`run`.
            batches: pairs of x ``[N, ...]`` and y ``[N]``, each batch of any size.
            first: index of the first sample, to go on where a run was stopped.
        """
        ends = self._ends()
        for x, y in batches:
            yield self._run(model, x, y, samples=torch.arange(first, first + len(x), device=x.device), ends=ends)
            first += len(x)

    def objective(self, model: Model) -> Objective:
        """Make the attacker's goal on a bare model."""
        return LogitObjective(model, targeted=self.targeted)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks that an ensemble runs one after another; none where it is one attack."""
        return ()

    @abstractmethod
    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Move the search's active samples; the one thing in which attacks differ."""

    def cost(self, classes: int) -> Cost | None:
        """Count the passes that a sample takes at most, of a model of so many classes; None where only a run tells.

        Steps times starts, a forward and a backward pass each; of attacks without gradients the queries.
        """
        if self.knowledge != "gradients":
            return None if self.queries is None else Cost(self.queries, 0)
        steps, restarts = getattr(self, "steps", None), getattr(self, "restarts", 1)
        if not isinstance(steps, int) or not isinstance(restarts, int):
            return None
        targets = getattr(self, "targets", None)
        each = Cost(steps, steps).times(restarts * (1 if targets is None else min(targets, classes - 1)))
        return each if self.queries is None else Cost(min(each.forward, self.queries), min(each.backward, self.queries))

    @property
    def reads_loss(self) -> bool:
        """Whether it raises the objective's loss; otherwise it reads margins alone."""
        return True

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
        samples: Tensor | None = None,
        ends: float | None = None,
        note_first: bool = False,
    ) -> AttackResult:
        objective = model if isinstance(model, Objective) else self.objective(model)
        self._check(objective, x, y, start, samples)
        samples = torch.arange(len(x), device=x.device) if samples is None else samples
        constraints = self._constraints(x)
        parts: list[AttackResult] = []
        ends = self._ends() if ends is None else ends
        # Gradients are needed even where the caller has switched them off.
        with torch.inference_mode(False), frozen(*objective.modules):
            size = rows_at_once(x, self.batch_size)
            for at in range(0, len(x), size):
                rows = slice(at, at + size)
                clean, labels = _usable(x[rows]), _usable(y[rows])
                region = ball(self.norm, clean, self.radius, self.bounds, *constraints)
                search = Search(
                    objective,
                    region,
                    labels,
                    samples[rows],
                    early_stop=self._early_stop,
                    closest=self.closest,
                    queries=self.queries,
                    deadline=None if ends is None else _share(ends, len(clean) / (len(x) - at)),
                    batch_size=self.batch_size,
                    note_first=note_first,
                )
                self._search(search, None if start is None else region.project(start[rows].detach()))
                if judge:
                    search.judge()
                distance = region.distance(search.x_adv)
                first = None
                if (fell := search.first) is not None:
                    away = region.distance(fell.x_adv)
                    # Gradients are lost before a success alone, so what was lost in all was lost by then.
                    first = AttackResult(
                        fell.x_adv,
                        fell.found,
                        away,
                        fell.queries,
                        fell.passes,
                        search.corrected,
                        search.zero.minimum(fell.passes),
                        search.nonfinite.minimum(fell.passes),
                    )
                parts.append(
                    AttackResult(
                        search.x_adv,
                        search.success,
                        distance,
                        search.queries,
                        search.passes,
                        search.corrected,
                        search.zero,
                        search.nonfinite,
                        first,
                    )
                )
                if progress is not None:
                    progress(len(clean))
                if size < self.batch_size:  # samples are large
                    give_back()
        return AttackResult.joined(parts)

    def _ends(self) -> float | None:
        return None if self.time_limit is None else time.monotonic() + self.time_limit

    def _search(self, search: Search, start: Tensor | None) -> None:
        with suppress(BudgetSpent):
            self.perturb(search, start)
            return
        search.settle_last()

    def _check(
        self, objective: Objective, x: Tensor, y: Tensor, start: Tensor | None, samples: Tensor | None = None
    ) -> None:
        bounds = objective.bounds
        if bounds is not None and not _same(bounds, self.bounds):
            raise ModelError(
                f"{self.title} has bounds {self.bounds}, but the model says {bounds}; give the attack the model's."
            )
        if x.ndim < 2 or x.numel() == 0 or x.dtype not in (torch.float32, torch.float64):
            raise DataError(f"{self.title}: x must be float32 [N, ...] with N > 0, not {x.dtype} {list(x.shape)}.")
        if y.shape != x.shape[:1] or y.dtype != torch.int64:
            raise DataError(f"{self.title}: y must be int64 [{len(x)}], not {y.dtype} {list(y.shape)}.")
        if int(y.min()) < 0:
            raise DataError(f"{self.title}: label {int(y.min())} is negative.")
        low, high = torch.tensor(self.bounds, dtype=x.dtype).tolist()
        parts = (part.flatten(1) for part in x.split(rows_at_once(x, len(x))))
        inside = torch.cat([((part >= low) & (part <= high)).all(1) for part in parts])  # False for NaN too
        if not bool(inside.all()):
            place = int((~inside).nonzero()[0])
            sample = place if samples is None else int(samples[place])
            raise DataError(f"{self.title}: sample {sample} has values outside the bounds {self.bounds}, or NaN.")
        if samples is not None and (samples.shape != y.shape or samples.dtype != torch.int64):
            description = f"{samples.dtype} {list(samples.shape)}"
            raise DataError(f"{self.title}: samples must be int64 [{len(x)}], not {description}.")
        if start is not None and (start.shape != x.shape or bool(start.isnan().any())):
            raise DataError(f"{self.title}: start must be shaped like x, {list(x.shape)}, without NaN.")
        diagonal = (self.bounds[1] - self.bounds[0]) * math.sqrt(x[0].numel())
        if self.norm == "l2" and self.eps is not None and self.eps > diagonal:
            raise OptionError(f"{self.title}: eps={self.eps:g} is longer than the diagonal of the space, {diagonal:g}.")
        most = (self.bounds[1] - self.bounds[0]) * x[0].numel()
        if self.norm == "l1" and self.eps is not None and self.eps > most:
            raise OptionError(f"{self.title}: eps={self.eps:g} is more than all values together can change, {most:g}.")
        count = by_place(x[:1]).shape[2]
        if self.norm == "l0" and self.eps is not None and self.eps > count:
            raise OptionError(f"{self.title}: eps={self.eps:g} is more than the {count} places of a sample.")

    def _constraints(self, x: Tensor) -> Constraints:
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
        ranges = None
        if self.ranges is not None:
            ranges = torch.tensor(self.ranges, dtype=torch.float64, device=x.device)
            if x.ndim != 2 or ranges.shape != (x.shape[1], 3):
                raise OptionError(f"{self.title}: {len(ranges)} ranges do not fit samples {list(x.shape[1:])}.")
        return Constraints(mask, units, ranges)


class Constraints(NamedTuple):
    """What an attacker may not do beside leaving the ball; see :func:`salus.attacks.ball.ball`."""

    mask: Tensor | None
    units: Tensor | None
    ranges: Tensor | None


def _share(ends: float, share: float) -> float:
    """Return when a batch must end that may take this share of the time that is left."""
    now = time.monotonic()
    return now + max(ends - now, 0.0) * share


def _usable(part: Tensor) -> Tensor:
    # Tensors made in inference mode cannot take part in gradients; a copy can.
    return part.clone() if part.is_inference() else part.detach()


def _same(bounds: tuple[float, float], others: tuple[float, float]) -> bool:
    # Models often keep their bounds in a float32 buffer.
    return torch.equal(torch.tensor(bounds, dtype=torch.float32), torch.tensor(others, dtype=torch.float32))


def _without_absent(value: Any) -> Any:
    """Leave out ranges that are None, of an attack inside another too."""
    if isinstance(value, dict):
        return {key: _without_absent(each) for key, each in value.items() if not (key == "ranges" and each is None)}
    return [_without_absent(each) for each in value] if isinstance(value, (list, tuple)) else value


def _tuples(mask: Any) -> Any:
    values = mask.tolist() if hasattr(mask, "tolist") else mask
    return tuple(map(_tuples, values)) if isinstance(values, (list, tuple)) else bool(values)
