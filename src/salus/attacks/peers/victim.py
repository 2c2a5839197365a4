"""What another library attacks in the place of the model: it counts, keeps to the budget and remembers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from salus.attacks.search import BudgetSpent, Search

#: What the victim answers: logits, their softmax, or success alone. That is class 1 of three, class 0 is none, and
#: class 2 is never answered: some libraries take two classes for one logit.
Answers = Literal["logits", "probabilities", "success"]


@dataclass(frozen=True)
class PeerView:
    """How a library sees samples: as images ``[N, C, H, W]`` of float32 values in 0 to 1.

    Signals become images of height 1, and tables such images of one channel. ``folded`` ones become square,
    row under row, the last row filled up with values that nobody reads, for libraries that move squares about.

    Attributes:
        shape: of one sample.
        bounds: of its values.
        folded: make signals and tables square.
    """

    shape: tuple[int, ...]
    bounds: tuple[float, float]
    folded: bool = False

    @property
    def width(self) -> float:
        """How much of x is 1 to the library."""
        return self.bounds[1] - self.bounds[0]

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape ``[C, H, W]`` of one sample."""
        if len(self.shape) == 3:
            return self.shape[0], self.shape[1], self.shape[2]
        channels, length = (1, *self.shape)[-2:]
        if not self.folded:
            return channels, 1, length
        side = math.isqrt(length - 1) + 1
        return channels, side, side

    def show(self, x: Tensor) -> Tensor:
        """Turn samples ``[N, ...]`` into what the library sees ``[N, C, H, W]``."""
        scaled = x if self.bounds == (0.0, 1.0) else (x.double() - self.bounds[0]) / self.width
        return self._reshape(scaled.float().clamp(0, 1))

    def read(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Turn what the library made ``[N, C, H, W]`` into samples ``[N, ...]``; differentiable."""
        channels, height, width = self.image
        flat = images.reshape(len(images), channels, height * width)
        values = flat[..., : math.prod(self.shape) // channels].reshape(len(images), *self.shape).to(dtype)
        return values if self.bounds == (0.0, 1.0) else values * self.width + self.bounds[0]

    def move(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Change samples as the library changed what it saw; what it left alone stays bit by bit."""
        plain = PeerView(self.shape, (0.0, 1.0), self.folded)
        change = plain.read(after, torch.float64) - plain.read(before, torch.float64)
        return (x.double() + change * self.width).to(x.dtype)

    def _reshape(self, values: Tensor) -> Tensor:
        channels, height, width = self.image
        flat = values.reshape(len(values), channels, -1)
        return nn.functional.pad(flat, (0, height * width - flat.shape[2])).reshape(-1, channels, height, width)


class Victim(nn.Module):
    """The model as a library sees it, behind a view.

    Every row of every forward pass is a query of the sample that it belongs to: of the one sample there is, of
    all in their order where there are as many rows as samples, and otherwise of the nearest one.

    Args:
        search: the batch under attack.
        rows: places in the batch of the samples under attack ``[N]``.
        view: how the library sees samples.
        answers: what the library is told.
        least: fill logits up to so many classes, with ones that never win, for losses that read the fourth.
        deadline: when to stop, by ``time.monotonic()``.

    Attributes:
        nearest: the nearest success that was seen of each sample ``[N, ...]``, kept where there is a budget, or where
            answers may end (decisions); else x.
        spent: the budget is used up, or nobody answers any more.
        failure: what the model itself raised, which is not the library's fault.
        classes: how many there are.
        outputs: how many the library sees.
    """

    def __init__(
        self,
        search: Search,
        rows: Tensor,
        view: PeerView,
        *,
        answers: Answers = "logits",
        least: int = 0,
        deadline: float | None = None,
    ) -> None:
        super().__init__()
        self.search, self.rows, self.view = search, rows, view
        self.answers, self.deadline = answers, deadline
        self.ball = search.batch_ball.select(rows)
        x = self.ball.x
        # Libraries ask the first parameter where the model is.
        self.anchor = nn.Parameter(torch.zeros(1, device=x.device), requires_grad=False)
        self.nearest = x.clone()
        self.spent = False
        self.failure: Exception | None = None
        self.classes = 3 if answers == "success" else self._count_classes()
        self.outputs = max(self.classes, least)
        self._distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        still = self.ball.low == self.ball.high
        self._still = still if bool(still.any()) else None
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Answer ``[M, C, H, W]`` with ``[M, K]``.

        Raises:
            BudgetSpent: no more queries or time are allowed.
        """
        x = self.ball.x
        points = self.view.read(images.to(x.device), x.dtype)
        whose = self._whose(points)
        # Where a library has lost its way, its neighbours shall not suffer.
        points = torch.where(points.isfinite(), points, x[whose])
        if self._still is not None:
            points = torch.where(self._still[whose], x[whose], points)
        self._spend(whose)
        rows = self.rows[whose]
        outputs = self._with_failure(lambda: self._answer(points, rows, whose))
        if outputs.requires_grad:
            self._count_backward(outputs, rows)
        return outputs

    def _answer(self, points: Tensor, rows: Tensor, whose: Tensor) -> Tensor:
        evaluation = self.search.answer(points, rows)
        if self.search.budget is not None or self.deadline is not None or self.answers == "success":
            self._remember(points.detach(), whose, evaluation.success)
        if self.answers == "success":
            won = evaluation.success
            return torch.stack([~won, won, torch.zeros_like(won)], 1).float()
        logits = evaluation.logits
        missing = self.outputs - logits.shape[1]
        if missing > 0:
            never = logits.detach().amin(1, keepdim=True) - 1
            logits = torch.cat([logits, never.expand(-1, missing)], 1)
        return (logits.softmax(1) if self.answers == "probabilities" else logits).float()

    @torch.no_grad()
    def _count_classes(self) -> int:
        return self.search.answer(self.ball.x[:1], self.rows[:1]).logits.shape[1]

    def _with_failure(self, answer: Callable[[], Tensor]) -> Tensor:
        try:
            return answer()
        except BudgetSpent:
            self.spent = True
            raise
        except Exception as error:
            self.failure = error
            raise

    def _whose(self, points: Tensor) -> Tensor:
        count, x = len(points), self.ball.x
        if len(x) == 1:
            return torch.zeros(count, dtype=torch.int64, device=x.device)
        if count == len(x):
            return torch.arange(count, device=x.device)
        return torch.cdist(points.detach().flatten(1), x.flatten(1)).argmin(1)

    def _spend(self, whose: Tensor) -> None:
        counts = torch.bincount(whose, minlength=len(self.rows))
        self.spent |= self.deadline is not None and time.monotonic() > self.deadline
        self.spent |= bool((counts > self.search.left(self.rows)).any())
        if self.spent:
            raise BudgetSpent
        self.search.queries[self.rows] += counts

    def _count_backward(self, outputs: Tensor, rows: Tensor) -> None:
        counted = False

        def count(_: Tensor) -> None:
            nonlocal counted
            if not counted:  # one forward pass may have a backward pass for each class
                counted = True
                self.search.passes.index_add_(0, rows, torch.ones_like(rows))

        outputs.register_hook(count)

    def _remember(self, points: Tensor, whose: Tensor, won: Tensor) -> None:
        """Keep the nearest success of each sample."""
        if not bool(won.any()):
            return
        whose, points = whose[won], points[won]
        distance = self.search.batch_ball.select(self.rows[whose]).distance(points)
        nearest = self._distance.scatter_reduce(0, whose, distance, "amin")
        best = (distance == nearest[whose]) & (distance < self._distance[whose])
        self.nearest[whose[best]] = points[best]
        self._distance = nearest
