"""Square: random search with windows in time, blocks of pixels or groups of features, seeing logits alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import Ball, NormName
from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.attacks.settings import EarlyStop, Eps, ScheduledQueries
from salus.attacks.taxonomy import Knowledge

#: The shares of the queries after which the windows shrink by half (Andriushchenko et al., 2020, sec. 5).
_SHRINK = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
#: Queries whose random numbers are drawn at once.
_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Changes one random window at a time and keeps what lowers the margin (Andriushchenko et al., 2020, Alg. 1).

    A window is a stretch of time in a signal (of all its channels), a square of pixels in an image, a random group
    of features in a table. In L-inf it goes to the rim of the ball, up or down by channel (Alg. 2), and one that
    would change nothing goes the other way. In L2 it takes over the strength of a second window (Alg. 3).

    Attributes:
        eps: radius of the ball, in the units of x.
        queries: most queries a sample; the windows shrink on a schedule that is scaled to them.
        p_init: share of the values in the first windows, above 0 and at most 1; when not given the authors' 0.8, but
            0.2 for signals and tables in L-inf, whose windows have but one edge to shrink.
        early_stop: let each sample go as soon as it has fallen; otherwise its margin is lowered to the end.
    """

    name: ClassVar[str] = "square"
    knowledge: ClassVar[Knowledge] = "logits"
    paper: ClassVar[str] = "Andriushchenko et al., 2020"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")

    eps: Eps
    queries: ScheduledQueries = 5000
    p_init: Annotated[
        float | None, Field(gt=0, le=1, description="share of the values in the first windows; none for what suits x")
    ] = None
    early_stop: EarlyStop = True

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Judge x, then stripes or ``start``, then change a window of the best point at each query."""
        begin, change = (stripes, repaint) if self.norm == "linf" else (bumps, shift)
        ball = search.batch_ball
        search.record(search.ball.x)  # what is already fooled needs no change
        search.record((begin(ball, self.seed, search.batch_samples) if start is None else start)[search.rows])
        proposals = Proposals(self.seed, search.batch_samples, tuple(ball.x.shape[1:]))
        for step in range((self.queries or 0) - 2):
            if len(search) == 0:
                break
            best, proposal = search.x_adv[search.rows], proposals.of(search.rows, step)
            search.record(change(search.ball, best, self.share(best, step), proposal))

    def share(self, x: Tensor, step: int) -> float:
        """Return which share of the values ``[A, ...]`` the window of this step covers."""
        first = 0.8 if x.ndim > 3 or self.norm == "l2" else 0.2
        progress = step / (self.queries or 1)
        return float((self.p_init or first) * 0.5 ** sum(progress > threshold for threshold in _SHRINK))


class Proposal(NamedTuple):
    """What chooses two windows in each sample.

    Attributes:
        here: in [0, 1), the place of the first along each axis of space or time ``[A, axes]``; a table has one.
        there: the same of the second.
        turned: the first one's profile runs along the last axis instead of the first, bool ``[A]``.
        up: bool for each channel, or feature of a table, ``[A, C]``.
        order: the features of tables in a random order of each sample's own ``[A, F]``; unused elsewhere.
    """

    here: Tensor
    there: Tensor
    turned: Tensor
    up: Tensor
    order: Tensor


class Proposals:
    """Draws the proposals of all steps; a sample's depend on the seed and its index alone.

    The first window's places follow an additive recurrence (Roberts' R sequence, the golden ratio in one dimension)
    from a random start: as even as without replacement. Independent places would leave a third of the values
    untried after as many queries as there are values.
    """

    def __init__(self, seed: int, samples: Tensor, shape: tuple[int, ...]) -> None:
        self._seed, self._samples, self._channels = seed, samples, shape[0]
        self._axes = max(len(shape) - 1, 1)
        ratio = 1.0
        for _ in range(64):  # the root of ratio ** (axes + 1) = ratio + 1
            ratio = (1 + ratio) ** (1 / (self._axes + 1))
        powers = torch.arange(1, self._axes + 1, dtype=torch.float64, device=samples.device)
        self._stride = ratio**-powers
        self._first = draws.uniform(seed, samples, (self._axes,), 1).double()
        features = shape if len(shape) == 1 else (0,)
        self._order = draws.uniform(seed, samples, features, 2).argsort(stable=True, dim=1)

    def of(self, rows: Tensor, step: int) -> Proposal:
        """Return the proposal of this step for the samples at these places ``[A]``; steps must come in turn."""
        if step % _BLOCK == 0:
            width = self._axes + 1 + self._channels
            self._block = draws.uniform(self._seed, self._samples, (_BLOCK, width), 3 + step // _BLOCK)
        there, turned, up = self._block[rows, step % _BLOCK].split([self._axes, 1, self._channels], 1)
        here = (self._first[rows] + step * self._stride) % 1
        return Proposal(here, there, turned[:, 0] < 0.5, up < 0.5, self._order[rows])


class Window(NamedTuple):
    """A window in each sample.

    Attributes:
        inside: bool ``[A, 1, ...]``, for tables ``[A, F]``.
        offsets: along each axis of space or time the places counted from the window's edge, ``[A, ..., L, ...]``.
        edge: its length along each axis.
    """

    inside: Tensor
    offsets: tuple[Tensor, ...]
    edge: int


def window(x: Tensor, share: float, place: Tensor, order: Tensor, least: int = 1) -> Window:
    """Lay a window with this share of the values (and an edge of at least ``least``) into each sample ``[A, ...]``."""
    if x.ndim == 2:
        size = max(round(share * x.shape[1]), 1)
        first = (place * x.shape[1]).to(torch.int64)
        return Window((order - first) % x.shape[1] < size, (), size)
    lengths = x.shape[2:]
    edge = min(max(round((share * math.prod(lengths)) ** (1 / len(lengths))), least), *lengths)
    inside, offsets = torch.ones((), dtype=torch.bool, device=x.device), []
    for axis, length in enumerate(lengths):
        first = (place[:, axis, None] * (length - edge + 1)).to(torch.int64)
        offset = torch.arange(length, device=x.device) - first  # [A, L]
        offset = offset.reshape(len(x), *[1] * (axis + 1), length, *[1] * (len(lengths) - 1 - axis))
        inside = inside & (offset >= 0) & (offset < edge)
        offsets.append(offset)
    return Window(inside, tuple(offsets), edge)


def stripes(ball: Ball, seed: int, samples: Tensor) -> Tensor:
    """Go to the rim of an L-inf ball, up or down by channel and by place along the last axis."""
    channels, *space = ball.x.shape[1:]
    shape = (channels, *[1] * (len(space) - 1), *space[-1:])
    return torch.where(draws.uniform(seed, samples, shape, 0) < 0.5, ball.high, ball.low)


def repaint(ball: Ball, best: Tensor, share: float, proposal: Proposal) -> Tensor:
    """Bring a window of the points ``[A, ...]`` to the rim of an L-inf ball (Alg. 2)."""
    inside = window(best, share, proposal.here, proposal.order).inside
    up = _by_channel(proposal.up, best)
    point = torch.where(inside, torch.where(up, ball.high, ball.low), best)
    same = (point == best).flatten(1).all(1)
    if bool(same.any()):  # a query that would tell nothing
        up = up ^ _by_sample(same, best)
        point = torch.where(inside, torch.where(up, ball.high, ball.low), best)
    return point


def bumps(ball: Ball, seed: int, samples: Tensor) -> Tensor:
    """Go to the rim of an L2 ball by a grid of bumps, five along the shortest axis, each up or down."""
    x = ball.x
    space = x.shape[2:]
    edge = max(min(space, default=1) // 5, 1)
    tiles = [-(-length // edge) for length in space]
    signs = draws.uniform(seed, samples, (x.shape[1], *tiles), 0) < 0.5
    grid = profile(edge, len(space)).to(x).repeat(tiles)
    for axis, length in enumerate(space):
        signs = signs.repeat_interleave(edge, axis + 2).narrow(axis + 2, 0, length)
        grid = grid.narrow(axis, 0, length)
    return _stretch(ball, torch.where(signs, grid, -grid))


def shift(ball: Ball, best: Tensor, share: float, proposal: Proposal) -> Tensor:
    """Give the strength of one window, and what the ball has left, to another ``[A, ...]`` (Alg. 3)."""
    space = tuple(range(2, best.ndim)) or (1,)

    def length(values: Tensor) -> Tensor:
        return values.square().sum(space, keepdim=True).sqrt()  # [A, C, 1, ...]

    here = window(best, share, proposal.here, proposal.order, least=3)
    there = window(best, share, proposal.there, proposal.order, least=3)
    delta = best - ball.x
    room = (ball.eps**2 - delta.square().flatten(1).sum(1)).clamp_min(0)
    channels = best.shape[1] if best.ndim > 2 else 1
    strength = _by_sample(room, best) / channels + length(delta * (here.inside | there.inside)).square()
    old = delta * here.inside
    fresh = _lookup(here, proposal.turned, best) * torch.where(_by_channel(proposal.up, best), 1.0, -1.0)
    new = (fresh + old / length(old).clamp_min(1e-12)) * here.inside
    new = new / length(new).clamp_min(1e-12) * strength.sqrt()
    return _stretch(ball, torch.where(here.inside, new, delta * ~there.inside))


@lru_cache
def profile(edge: int, axes: int) -> Tensor:
    """Return two bumps side by side along the first axis, one up and one down, of length 1, ``[edge, ...]`` (Eq. 2)."""
    if axes == 0:
        return torch.ones(())
    halves = []
    for thick, sign in ((edge // 2, 1.0), (edge - edge // 2, -1.0)):
        sides = (thick, *[edge] * (axes - 1))
        tail = torch.arange(1, max(sides) // 2 + 2).double().pow(-2).flip(0).cumsum(0).flip(0)
        away = [
            (torch.arange(side) - side // 2).abs().reshape(-1, *[1] * (axes - 1 - k)) for k, side in enumerate(sides)
        ]
        ring = torch.zeros(sides, dtype=torch.int64)
        for distance in away:
            ring = ring.maximum(distance)
        bump = tail[ring]
        halves.append(sign * bump / bump.norm().clamp_min(1e-12))
    pair = torch.cat(halves)
    unit: Tensor = pair / pair.norm()
    return unit.float()


def _lookup(here: Window, turned: Tensor, best: Tensor) -> Tensor:
    """Return the profile where the windows lie, along the first or the last axis, ``[A, 1, ...]``."""
    if not here.offsets:
        return torch.ones_like(best)
    values = profile(here.edge, len(here.offsets)).to(best)
    offsets = [offset.clamp(0, here.edge - 1) for offset in here.offsets]
    return torch.where(_by_sample(turned, best), values[tuple(offsets)], values[tuple(offsets[::-1])])


def _stretch(ball: Ball, delta: Tensor) -> Tensor:
    """Bring a change to the ball's full length and into the bounds."""
    length = delta.double().flatten(1).square().sum(1).sqrt().clamp_min(1e-300)
    return ball.project((ball.x + delta * _by_sample(ball.eps / length, delta)).to(ball.x.dtype))


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(*values.shape, *[1] * (x.ndim - 2))


def _by_sample(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
