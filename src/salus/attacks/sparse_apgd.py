"""Auto-PGD in L1: steps of few values, whose number each sample finds for itself."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from salus.attacks.ball import Ball
from salus.attacks.search import Goal, Observation, Search

#: The checkpoints' distance as a share of the steps, and the least by which a falling count of values must fall.
_PERIOD, _FALLS = 0.04, 0.95
#: The share of the values that the first steps move, and how many more values than a step moves have changed.
_FIRST, _WIDER = 0.2, 1.5
#: By what a step is divided at a checkpoint, and the shortest one, in units of eps.
_SHORTER, _SHORTEST = 1.5, 0.1
#: How many times as wide the first balls are, and the share of the steps in each.
_WIDE = {3: 0.3, 2: 0.3}


def climb_sparsely(search: Search, x_adv: Tensor, goal: Goal | None, steps: int) -> None:
    """Climb in the L1 ball from these points of the active samples (Croce and Hein, 2021, Algorithm 1).

    Six steps in ten are taken in balls three times and twice as wide, from whose best points the next goes on (sec.
    4.2): where few values may change, those that change first need not be the right ones. Nobody is judged there.
    """
    wide = [(width, int(share * steps)) for width, share in _WIDE.items()]
    first = True
    for width, count in wide:
        if count and len(search):
            ball = replace(search.ball, eps=width * search.ball.eps)
            x_adv, first = _climb(search, x_adv, goal, count, ball, first=first), False
    if len(search):
        _climb(search, x_adv, goal, steps - sum(count for _, count in wide), search.ball, first=first, last=True)


def _climb(
    search: Search, x_adv: Tensor, goal: Goal | None, steps: int, ball: Ball, *, first: bool = False, last: bool = False
) -> Tensor:
    """Climb in one ball, the search's own in the last phase, and return the best point of each active sample.

    A step of length eps moves the values of largest gradient, two in three as many as the best point has changed. At
    each checkpoint a sample whose best point changes as many values as before gets a shorter step; one whose count
    still falls starts from its best point again with the full one. The first steps of all move a fifth of the values,
    those of a ball that another went before as many as its best points say.
    """

    def seen(point: Tensor) -> Observation:
        return search.look(point, goal, keep=not search.early_stop) if last else search.explore(ball, point, goal)

    period = max(int(_PERIOD * steps), 1)
    x_adv = ball.project(x_adv)
    look = seen(x_adv)
    x_adv = best = look.of(x_adv)
    gradient = best_gradient = look.gradient
    best_loss = look.loss
    every = math.prod(ball.x.shape[1:])
    changed = torch.full_like(best_loss, every) if first else _changed(best, search)  # values, at the last checkpoint
    share = torch.full_like(best_loss, _FIRST) if first else changed / every / _WIDER
    length = torch.ones_like(best_loss)  # in units of eps
    for step in range(1, steps + 1):
        if len(search) == 0:
            break
        ball = search.ball if last else ball
        stride = (ball.eps * length).to(x_adv.dtype).reshape(-1, *[1] * (x_adv.ndim - 1))
        x_adv = ball.project(ball.ascend(x_adv, gradient, stride, share))
        if step == steps and last:
            search.record(x_adv)  # nobody needs the gradient there
            break

        look = seen(x_adv)
        x_adv, best, best_gradient, best_loss = map(look.of, (x_adv, best, best_gradient, best_loss))
        share, changed, length = map(look.of, (share, changed, length))
        gradient = look.gradient
        better = look.loss > best_loss
        best, best_gradient = choose(better, (x_adv, gradient), (best, best_gradient))
        best_loss = torch.where(better, look.loss, best_loss)

        if step % period == 0 and len(search):
            now = _changed(best, search).to(changed)
            falling = now < _FALLS * changed
            length = torch.where(falling, 1.0, (length / _SHORTER).clamp_min(_SHORTEST))
            x_adv, gradient = choose(falling, (best, best_gradient), (x_adv, gradient))
            share, changed = now / every / _WIDER, now
    return best


def _changed(point: Tensor, search: Search) -> Tensor:
    """Count the values that points of the active samples change, ``[A]``."""
    return (point != search.ball.x).flatten(1).sum(1).to(torch.get_default_dtype())


def choose(flags: Tensor, yes: tuple[Tensor, ...], no: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Take whole samples from one of two groups of tensors by flags ``[A]``."""
    pairs = zip(yes, no, strict=True)
    return tuple(torch.where(flags.reshape(-1, *[1] * (one.ndim - 1)), one, other) for one, other in pairs)
