"""The order in which other classes are targeted, and the probability margin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.attacks import FAB, LogitObjective, Search
from salus.attacks.ball import ball
from salus.attacks.probability_margin import probability_margin
from salus.attacks.ranking import ranked_classes


def linear(x: Tensor) -> Tensor:
    """Class 1 is nearest in margin, class 2 in distance, 3 in neither."""
    first, second = x[:, 0], x[:, 1]
    return torch.stack([torch.zeros_like(first), 0.1 * first - 0.2, 5 * second - 1.0, 0.1 * second - 0.5], 1)


def test_malt_puts_the_class_first_whose_boundary_is_nearest() -> None:
    x, y = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)
    orders = {}
    for ranking in ("margin", "malt"):
        search = Search(LogitObjective(linear), ball("l2", x, 1.0, (0.0, 1.0)), y, torch.arange(3))
        look = search.look(x, gradient=False, keep=True)
        orders[ranking] = ranked_classes(search, look, ranking, "l2")[0].tolist()
    assert orders == {"margin": [1, 3, 2], "malt": [2, 1, 3]}


def test_fab_with_one_target_of_malts_finds_what_the_class_of_least_margin_hides() -> None:
    x, y = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)
    by_margin = FAB(norm="l2", targets=1).run(linear, x, y)
    by_malt = FAB(norm="l2", targets=1, ranking="malt").run(linear, x, y)
    assert not bool(by_margin.success.any()) and bool(by_malt.success.all())


def test_the_probability_margin_is_the_difference_of_two_probabilities() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(50) % 5
    others = logits.scatter(1, y[:, None], -torch.inf).argmax(1)
    margin = logits.gather(1, y[:, None])[:, 0] - logits.gather(1, others[:, None])[:, 0]
    p = logits.softmax(1)
    expected = p.gather(1, others[:, None])[:, 0] - p.gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(probability_margin(logits, margin, y, others), expected)


def test_the_probability_margin_grows_as_the_margin_falls_and_has_a_slope_however_large_it_is() -> None:
    margins = torch.logspace(4, -2, 60, dtype=torch.float64).requires_grad_()
    logits = torch.stack([margins, torch.zeros_like(margins)], 1)
    classes = torch.zeros(60, dtype=torch.int64)
    loss = probability_margin(logits, margins, classes, 1 - classes)
    (slope,) = torch.autograd.grad(loss.sum(), margins)
    assert bool((loss.detach().diff() > 0).all()) and bool((slope < 0).all())


def test_a_guards_capped_margin_stands_alone() -> None:
    logits = nn.functional.one_hot(torch.tensor([1, 1]), 3).double()  # class 1 has won already
    margin = torch.tensor([0.5, 0.1], dtype=torch.float64)  # but the guard does not accept
    classes = torch.zeros(2, dtype=torch.int64)
    loss = probability_margin(logits, margin, classes, classes + 1)
    torch.testing.assert_close(loss, -torch.tanh(margin / 2))
