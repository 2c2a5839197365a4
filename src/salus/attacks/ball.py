"""Where an attacker may go: a norm ball around each sample, inside the bounds, on the values it may touch.

Inside means inside. Rounding to float32 may step over the rim of the ball by one unit in the last place, so
every projection is checked in float64 and, where it stands outside, moved one float towards the sample.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from salus.attacks import draws

NormName = Literal["linf", "l2", "l1", "l0"]
B = TypeVar("B", bound="Ball")


@dataclass(frozen=True, eq=False)
class Ball(ABC):
    """The points within ``eps`` of ``x`` that keep to the bounds and the mask.

    Attributes:
        x: the clean samples ``[N, ...]``.
        eps: the radius, in the units of x; in L0 a number of places.
        low: the lowest value each element may take, ``[N, ...]``; equal to x where it may not change.
        high: the highest value.
        steps: the size of one unit of each integer feature, ``[F]``, 0 where continuous; None for no such
            features.
    """

    x: Tensor
    eps: float
    low: Tensor
    high: Tensor
    steps: Tensor | None

    @abstractmethod
    def project(self, point: Tensor) -> Tensor:
        """Move each point ``[N, ...]`` into the ball, the bounds and the mask."""

    def near(self, point: Tensor) -> Tensor:
        """Project up to rounding, for points on the way to one that :meth:`project` makes exact."""
        return self.project(point)

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the step of unit length in this norm along which a loss with this gradient grows fastest."""

    def ascend(
        self, point: Tensor, gradient: Tensor, length: float | Tensor, share: float | Tensor | None = None
    ) -> Tensor:
        """Take a step of this length uphill from points ``[N, ...]``; :meth:`project` brings them back.

        Args:
            point: where the gradient was taken.
            gradient: of what is to be raised.
            length: of the step, in this norm.
            share: which share of the values a step in L1 moves, for each sample ``[N]`` or all; no matter elsewhere.
        """
        return point.add(self.steepest(gradient) * length)

    @abstractmethod
    def random(self, seed: int, samples: Tensor, stream: int) -> Tensor:
        """Draw one point of the ball for each sample, given the samples' indices ``[N]``."""

    @abstractmethod
    def distance(self, point: Tensor) -> Tensor:
        """Measure the distance to x in this norm, float64 ``[N]``."""

    def land(self, point: Tensor) -> Tensor:
        """Round integer features to whole units away from x, without leaving the ball."""
        if self.steps is None:
            return point
        integer, x = self.steps > 0, self.x.double()
        unit = torch.where(integer, self.steps, 1.0)
        away = (point.double() - x) / unit  # in units, [N, F]

        def walk(units: Tensor) -> Tensor:
            return torch.where(integer, (x + units * unit).to(point.dtype), point)

        inward = walk(away.trunc())
        # Rounding may carry even the inward one past the point, and so out of the ball: one unit less then.
        past = (inward.double() - x).abs() > (point.double() - x).abs()
        inward = torch.where(past, walk(away.trunc() - away.sign()), inward)
        rounded = walk(away.round())
        landed = torch.where((rounded >= self.low) & (rounded <= self.high), rounded, inward)
        outside = self.distance(landed) > self.eps
        return torch.where(outside[:, None], inward, landed)

    def select(self: B, rows: Tensor) -> B:
        """Keep the samples at these rows, int64 or bool."""
        rows = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        return replace(self, **{name: getattr(self, name).index_select(0, rows) for name in ("x", "low", "high")})


class LinfBall(Ball):
    """All values within eps of the sample's."""

    def project(self, point: Tensor) -> Tensor:
        """Clamp; ``low`` and ``high`` already hold the ball."""
        return point.clamp(self.low, self.high)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the sign (Goodfellow et al., 2015)."""
        return gradient.sign()

    def random(self, seed: int, samples: Tensor, stream: int) -> Tensor:
        """Draw from the uniform distribution on the cube, then clip to the bounds."""
        noise = draws.uniform(seed, samples, tuple(self.x.shape[1:]), stream) * 2 - 1
        return self.project(self.x + self.eps * noise)

    def distance(self, point: Tensor) -> Tensor:
        """Return the largest change of a value."""
        return (point.double() - self.x.double()).flatten(1).abs().amax(1)


class L2Ball(Ball):
    """All points whose difference from the sample has a Euclidean length of at most eps."""

    def project(self, point: Tensor) -> Tensor:
        """Clamp to the bounds, scale onto the ball, and step one float inward where rounding stepped out."""
        point = point.clamp(self.low, self.high)
        if math.isinf(self.eps):
            return point
        length = self.distance(point)  # [N]
        eps = self.eps * (1 - 1e-12)  # a hair inside: a sum in float64 depends on the order of its terms
        outside = length > eps
        if not bool(outside.any()):
            return point
        factor = torch.where(outside, eps / length.clamp_min(1e-300), 1.0)
        factor = factor.reshape(-1, *[1] * (point.ndim - 1))
        # A point scaled towards x stays between x and itself, so the bounds still hold.
        point = torch.where(factor < 1, (self.x + (point.double() - self.x) * factor).to(point.dtype), point)
        return _stepped_inside(self, point)

    def near(self, point: Tensor) -> Tensor:
        """Clamp and scale without a look at the last digits, in a third of the time."""
        change = point.clamp(self.low, self.high) - self.x
        length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp_min(torch.finfo(change.dtype).tiny)
        nearer: Tensor = self.x + change * (self.eps / length).clamp_max(1).reshape(-1, *[1] * (point.ndim - 1))
        return nearer

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the gradient divided by its length; zero where it vanishes."""
        flat = gradient.flatten(1)
        tiny = torch.finfo(flat.dtype).tiny
        # Two divisions, so that no square is lost or infinite.
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(tiny)
        return (flat / flat.square().sum(1, keepdim=True).sqrt().clamp_min(tiny)).reshape(gradient.shape)

    def random(self, seed: int, samples: Tensor, stream: int) -> Tensor:
        """Draw from the uniform distribution on the ball, then clip to the bounds."""
        shape = tuple(self.x.shape[1:])
        direction = self.steepest(draws.normal(seed, samples, shape, 2 * stream))
        radius = draws.uniform(seed, samples, (1,), 2 * stream + 1).pow(1 / math.prod(shape))
        return self.project(self.x + self.eps * direction * radius.reshape(-1, *[1] * len(shape)))

    def distance(self, point: Tensor) -> Tensor:
        """Return the Euclidean length of the change."""
        return (point.double() - self.x.double()).flatten(1).square().sum(1).sqrt()


class L1Ball(Ball):
    """All points whose differences from the sample sum up to at most eps."""

    def project(self, point: Tensor) -> Tensor:
        """Go to the nearest point (in L2) of ball and bounds together, one float inward where rounding stepped out."""
        return _stepped_inside(self, self.near(point))

    def near(self, point: Tensor) -> Tensor:
        """Take one amount off every change before the bounds cut it off (Croce and Hein, 2021).

        With ``a`` the size of each change and ``r`` the room up to its bound, the projection has sizes
        ``min(max(a - t, 0), r)``, the least t >= 0 for which they sum up to eps (Proposition 1). Their sum falls
        linearly in t between the values a and ``a - r``.
        """
        clamped = point.clamp(self.low, self.high)
        if math.isinf(self.eps):
            return clamped
        outside = (self.distance(clamped) > self.eps).nonzero()[:, 0]
        if len(outside) == 0:
            return clamped
        x, low, high = (part[outside].double().flatten(1) for part in (self.x, self.low, self.high))
        change = point[outside].double().flatten(1) - x
        size, room = change.abs(), torch.where(change > 0, high - x, x - low)
        ends = torch.cat([size, size - room], 1).clamp_min(0)  # [A, 2 D]
        ends, order = ends.sort(dim=1, descending=True, stable=True)
        count = torch.where(order < size.shape[1], 1.0, -1.0).to(ends).cumsum(1)  # that shrink just below each end
        total = (count[:, :-1] * (ends[:, :-1] - ends[:, 1:])).cumsum(1)  # of the sizes, at each end but the first
        last = (total < self.eps).sum(1, keepdim=True).clamp_max(ends.shape[1] - 2)
        before = torch.where(last > 0, total.gather(1, (last - 1).clamp_min(0)), 0.0)
        t = ends.gather(1, last) - (self.eps - before) / count.gather(1, last).clamp_min(1)
        shrunk = torch.minimum((size - t).clamp_min(0), room)
        shrunk *= (self.eps / shrunk.sum(1, keepdim=True).clamp_min(1e-300)).clamp_max(1)  # where digits were too few
        inside = (x + change.sign() * shrunk).to(point.dtype).reshape(-1, *point.shape[1:])
        return clamped.index_put((outside,), inside).clamp(self.low, self.high)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the sign at the one value where the gradient is largest; zero where it vanishes."""
        flat = gradient.flatten(1)
        first = torch.zeros_like(flat).scatter_(1, flat.abs().argmax(1, keepdim=True), 1.0)
        return (first * flat.sign()).reshape(gradient.shape)

    def ascend(
        self, point: Tensor, gradient: Tensor, length: float | Tensor, share: float | Tensor | None = None
    ) -> Tensor:
        """Move the values of the largest gradient by the same amount, those alone that the bounds let move.

        So many together, as in SLIDE (Tramer and Boneh, 2019, sec. 4.2), see more of the loss than the steepest alone.
        """
        return point + self._sparse(point, gradient, _SHARE if share is None else share) * length

    def _sparse(self, point: Tensor, gradient: Tensor, share: float | Tensor) -> Tensor:
        """Return a step of unit length along the signs of this share of the values, those of largest gradient."""
        slope = gradient.flatten(1)
        here, low, high = (part.flatten(1) for part in (point, self.low, self.high))
        size = torch.where(torch.where(slope > 0, here < high, here > low), slope.abs(), 0)
        count = torch.as_tensor(share * size.shape[1], device=size.device).round().to(torch.int64)
        count = count.clamp(1, size.shape[1]).expand(len(size))
        least = size.topk(int(count.max()), dim=1).values.gather(1, count[:, None] - 1)
        signs = torch.where((size >= least) & (size > 0), slope.sign(), 0)
        return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).reshape(gradient.shape)

    def random(self, seed: int, samples: Tensor, stream: int) -> Tensor:
        """Draw from the uniform distribution on the ball, then clip to the bounds."""
        shape = tuple(self.x.shape[1:])
        width = math.prod(shape)
        # So many exponential draws, and one more that is left out of the sum, are uniform in the simplex.
        drawn = -torch.log1p(-draws.uniform(seed, samples, (width + 1,), 2 * stream).double())
        sizes = drawn[:, :width] / drawn.sum(1, keepdim=True).clamp_min(1e-300)
        signs = torch.where(draws.uniform(seed, samples, (width,), 2 * stream + 1) < 0.5, -1.0, 1.0)
        point = self.x.double() + (self.eps * signs * sizes).reshape(self.x.shape)
        return self.project(point.to(self.x.dtype).clamp(self.low, self.high))

    def distance(self, point: Tensor) -> Tensor:
        """Return the sum of the sizes of the changes."""
        return (point.double() - self.x.double()).flatten(1).abs().sum(1)


class L0Ball(Ball):
    """All points that differ from the sample in at most eps places, by any amount inside the bounds.

    A place is a pixel of an image or a moment of a signal, with all its channels, or a feature of a table.
    """

    def project(self, point: Tensor) -> Tensor:
        """Clamp to the bounds and take back all but the eps places that moved most."""
        point = point.clamp(self.low, self.high)
        change = by_place((point.double() - self.x.double()).abs()).amax(1)  # [N, P]
        most = places(self.eps, change.shape[1])
        mask = torch.zeros_like(change, dtype=torch.bool)
        mask.scatter_(1, change.argsort(dim=1, descending=True, stable=True)[:, :most], value=True)
        return torch.where(in_shape(mask, point), point, self.x)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the sign at the one place where the gradient is largest; zero where it vanishes."""
        size = by_place(gradient.abs()).sum(1)
        first = torch.zeros_like(size, dtype=torch.bool).scatter_(1, size.argmax(1, keepdim=True), value=True)
        return torch.where(in_shape(first, gradient), gradient.sign(), 0.0)

    def random(self, seed: int, samples: Tensor, stream: int) -> Tensor:
        """Draw eps places, and any values inside the bounds there."""
        count = by_place(self.x).shape[2]
        order = draws.uniform(seed, samples, (count,), 2 * stream).argsort(dim=1, stable=True)
        mask = torch.zeros_like(order, dtype=torch.bool)
        mask.scatter_(1, order[:, : places(self.eps, count)], value=True)
        values = self.low + (self.high - self.low) * draws.uniform(
            seed, samples, tuple(self.x.shape[1:]), 2 * stream + 1
        )
        return torch.where(in_shape(mask, self.x), values.clamp(self.low, self.high), self.x)

    def distance(self, point: Tensor) -> Tensor:
        """Count the places that differ."""
        return by_place(point != self.x).any(1).sum(1).double()


def _stepped_inside(ball: Ball, point: Tensor) -> Tensor:
    """Move each point that rounding has left outside of the ball towards x, one float at a time."""
    shape = (-1, *[1] * (point.ndim - 1))
    eps = ball.eps * (1 - 1e-12)  # a hair inside: a sum in float64 depends on the order of its terms
    outside = ball.distance(point) > eps
    while bool(outside.any()):
        point = torch.where(outside.reshape(shape), torch.nextafter(point, ball.x), point)
        outside = ball.distance(point) > eps
    return point.clamp(ball.low, ball.high)


def by_place(x: Tensor) -> Tensor:
    """Arrange samples ``[N, ...]`` as ``[N, C, P]``, P places of C values each; a table's features are its places."""
    return x[:, None] if x.ndim == 2 else x.flatten(2)


def in_shape(at: Tensor, x: Tensor) -> Tensor:
    """Shape what is told of each place, ``[N, P]``, so that it goes with samples ``[N, ...]``."""
    return at if x.ndim == 2 else at.reshape(len(x), 1, *x.shape[2:])


def places(eps: float, count: int) -> int:
    """Return how many of so many places may change."""
    return int(min(eps, count))


def ball(
    norm: NormName,
    x: Tensor,
    eps: float,
    bounds: tuple[float, float],
    mask: Tensor | None = None,
    steps: Tensor | None = None,
    ranges: Tensor | None = None,
) -> Ball:
    """Describe where an attacker with this budget may go from x.

    Args:
        norm: ``"linf"``, ``"l2"``, ``"l1"`` or ``"l0"``.
        x: clean samples ``[N, ...]``, inside the bounds.
        eps: radius in the units of x; in L0 a number of places, see :class:`L0Ball`.
        bounds: lowest and highest value.
        mask: bool, broadcastable to one sample; False where a value may not change.
        steps: ``[F]``, unit of each integer feature, 0 where continuous.
        ranges: float64 ``[F, 3]``, of each feature the lowest and highest value, and 1 where it may only rise from x,
            -1 where only fall.
    """
    lowest, highest = _floats_within(bounds, x.dtype)
    low, high = torch.full_like(x, lowest), torch.full_like(x, highest)
    if norm == "linf":
        x64 = x.double()
        left, right = (x64 - eps).to(x.dtype), (x64 + eps).to(x.dtype)
        left = torch.where(x64 - left.double() > eps, torch.nextafter(left, x), left)
        right = torch.where(right.double() - x64 > eps, torch.nextafter(right, x), right)
        low, high = torch.maximum(low, left), torch.minimum(high, right)
    if ranges is not None:
        least, most, way = ranges.unbind(1)
        low, high = torch.maximum(low, _inward(least, x.dtype, 1)), torch.minimum(high, _inward(most, x.dtype, -1))
        low, high = torch.where(way > 0, x, low), torch.where(way < 0, x, high)
    if mask is not None:
        low, high = torch.where(mask, low, x), torch.where(mask, high, x)
    # x itself is always allowed, even where rounding has put it a float beyond the bound.
    low, high = torch.minimum(low, x), torch.maximum(high, x)
    return _KINDS[norm](x=x, eps=eps, low=low, high=high, steps=steps)


def _inward(limits: Tensor, dtype: torch.dtype, side: int) -> Tensor:
    """Round limits ``[F]`` to floats that are not beyond them: upward for lower ones (side 1), downward for higher."""
    floats = limits.to(dtype)
    beyond = (floats.double() - limits) * side < 0
    return torch.where(beyond, torch.nextafter(floats, torch.full_like(floats, side * math.inf)), floats)


#: The share of the values that a step in L1 moves.
_SHARE = 0.05
#: The ball of each norm.
_KINDS: dict[NormName, type[Ball]] = {"linf": LinfBall, "l2": L2Ball, "l1": L1Ball, "l0": L0Ball}


def _floats_within(bounds: tuple[float, float], dtype: torch.dtype) -> tuple[float, float]:
    """Return the lowest and the highest number of this type that are inside the bounds."""
    limits = torch.tensor(bounds, dtype=torch.float64)
    near = limits.to(dtype)
    outside = torch.stack([near[0].double() < limits[0], near[1].double() > limits[1]])
    low, high = torch.where(outside, torch.nextafter(near, near.flip(0)), near).tolist()
    return low, high
