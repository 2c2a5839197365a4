"""Square: random search with windows in time, blocks of pixels or groups of features, seeing logits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import Ball, L1Ball, by_place
from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.attacks.settings import EarlyStop, Eps, ScheduledQueries
from salus.attacks.taxonomy import Knowledge
from salus.attacks.windows import profile, window

#: The shares of the queries after which the windows shrink by half (Andriushchenko et al., 2020, sec. 5).
_SHRINK = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
#: Queries whose random numbers are drawn at once.
_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Changes one random window at a time and keeps what lowers the margin (Andriushchenko et al., 2020, Alg. 1).

    A window is a stretch of time in a signal (of all its channels), a square of pixels in an image, a random group
    of features in a table. In L-inf it goes to the rim of the ball, up or down by channel (Alg. 2), and one that
    would change nothing goes the other way. In L2 it takes over the strength of a second window (Alg. 3);
    in L1 too, lengths being sums (Croce and Hein, 2021).

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
            best, proposal = search.x_adv.index_select(0, search.rows), proposals.of(search.rows, step)
            search.record(change(search.ball, best, self.share(best, step), proposal))

    def share(self, x: Tensor, step: int) -> float:
        """Return which share of the values ``[A, ...]`` the window of this step covers."""
        first = 0.2 if x.ndim <= 3 and self.norm == "linf" else 0.8
        return shrunk(self.p_init or first, step / (self.queries or 1))


def shrunk(first: float, progress: float) -> float:
    """Return which share of the values a window covers, of a first share, after a share of the queries."""
    return float(first * 0.5 ** sum(progress > threshold for threshold in _SHRINK))


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
        self._order = draws.uniform(seed, samples, features, 2).argsort(stable=True, dim=1).argsort(dim=1)

    def of(self, rows: Tensor, step: int) -> Proposal:
        """Return the proposal of this step for the samples at these places ``[A]``; steps must come in turn."""
        if step % _BLOCK == 0:
            width = self._axes + 1 + self._channels
            drawn = draws.uniform(self._seed, self._samples, (_BLOCK, width), 3 + step // _BLOCK).transpose(0, 1)
            steps = torch.arange(step, step + _BLOCK, device=rows.device)[:, None, None]
            self._block = torch.cat([(self._first + steps * self._stride) % 1, drawn], 2)  # [_BLOCK, N, ...]
        drawn = self._block[step % _BLOCK].index_select(0, rows)
        here, there, turned, up = drawn.split([self._axes, self._axes, 1, self._channels], 1)
        return Proposal(here, there, turned[:, 0] < 0.5, up < 0.5, self._order.index_select(0, rows))


def stripes(ball: Ball, seed: int, samples: Tensor) -> Tensor:
    """Go to the rim of an L-inf ball, up or down by channel and by place along the last axis."""
    channels, *space = ball.x.shape[1:]
    shape = (channels, *[1] * (len(space) - 1), *space[-1:])
    return torch.where(draws.uniform(seed, samples, shape, 0) < 0.5, ball.high, ball.low)


def repaint(ball: Ball, best: Tensor, share: float, proposal: Proposal) -> Tensor:
    """Bring a window of the points ``[A, ...]`` to the rim of an L-inf ball (Alg. 2)."""
    at = window(best, share, proposal.here, proposal.order).at(best)  # [A, C, W]
    old, low, high = (by_place(values).gather(2, at) for values in (best, ball.low, ball.high))
    up = _in_window(proposal.up, at, best)
    same = (torch.where(up, high, low) == old).flatten(1).all(1)  # a query that would tell nothing
    fresh = torch.where(up ^ same[:, None, None], high, low)
    return by_place(best).scatter(2, at, fresh).reshape(best.shape)


def bumps(ball: Ball, seed: int, samples: Tensor) -> Tensor:
    """Go to the rim of an L2 or L1 ball by a grid of bumps, five along the shortest axis, each up or down."""
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
    power = 1 if isinstance(ball, L1Ball) else 2

    def mass(values: Tensor) -> Tensor:
        return values.abs().pow(power).sum(2, keepdim=True)  # [A, C, 1]

    def unit(values: Tensor) -> Tensor:
        return values / mass(values).pow(1 / power).clamp_min(1e-12)

    here = window(best, share, proposal.here, proposal.order, least=3)
    there = window(best, share, proposal.there, proposal.order, least=3)
    at, beyond = here.at(best), there.at(best)  # [A, C, W]
    delta = by_place(best - ball.x)
    room = (ball.eps**power - mass(delta).sum(1, keepdim=True)).clamp_min(0)
    old = delta.gather(2, at)
    delta = delta.scatter(2, at, 0.0)
    strength = room / delta.shape[1] + mass(old) + mass(delta.gather(2, beyond))
    signs = torch.where(_in_window(proposal.up, at, best), 1.0, -1.0)
    fresh = _profiles(here.edge, best.ndim - 2, proposal.turned) * signs
    new = unit(fresh + unit(old)) * strength.pow(1 / power)
    return _stretch(ball, delta.scatter(2, beyond, 0.0).scatter(2, at, new).reshape(best.shape))


def _stretch(ball: Ball, delta: Tensor) -> Tensor:
    """Bring a change to the ball's full length and into the bounds."""
    length = delta.double().flatten(1).norm(1 if isinstance(ball, L1Ball) else 2, dim=1).clamp_min(1e-300)
    return ball.project((ball.x + delta * _by_sample(ball.eps / length, delta)).to(ball.x.dtype))


def _profiles(edge: int, axes: int, turned: Tensor) -> Tensor:
    """Return the windows' profile along the first or the last axis, ``[A, 1, W]``."""
    one = profile(edge, axes).to(turned.device)
    other = one.permute(tuple(range(one.ndim))[::-1])
    return torch.where(turned[:, None, None], one.flatten(), other.flatten())


def _in_window(values: Tensor, at: Tensor, x: Tensor) -> Tensor:
    """Shape what is told of each channel ``[A, C]``, or feature of a table, to go with windows ``[A, C, W]``."""
    return values[:, None].gather(2, at) if x.ndim == 2 else values[:, :, None]


def _by_sample(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
