"""An attacker who wants the other side of a line through the classes: what counts as a win, and how it is reached."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from salus.attacks import FGSM, PGD, UAP, LogitObjective, SideObjective
from salus.errors import OptionError


class Line(nn.Module):
    """Logits that are linear in a few values."""

    def __init__(self, classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(6, classes)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nn.init.normal_(self.layer.weight, std=2.0)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x)
        return logits


def points(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 500), st.sampled_from([(0,), (1, 3), (0, 1, 2)]))
@settings(max_examples=25, deadline=None)
def test_it_has_won_exactly_where_the_answer_is_of_the_other_side(seed: int, positive: tuple[int, ...]) -> None:
    logits = 3 * torch.randn(40, 4, generator=torch.Generator().manual_seed(seed))
    y = torch.randint(4, (40,), generator=torch.Generator().manual_seed(seed + 1))
    found = SideObjective(lambda x: x, positive).evaluate(logits, y)
    ill = torch.isin(torch.arange(4), torch.tensor(positive))
    assert torch.equal(found.success, ill[logits.argmax(1)] != ill[y])
    assert torch.equal(found.success, found.margin < 0)
    chances = logits.double().softmax(1)
    other = torch.where(ill[y], chances[:, ~ill].sum(1), chances[:, ill].sum(1))
    torch.testing.assert_close(found.loss.sigmoid(), other)
    assert bool(found.class_margins.isfinite().eq(ill[None] != ill[y][:, None]).all())


def test_it_gets_more_of_the_ill_called_healthy_than_an_attack_on_any_answer() -> None:
    model, x = Line(), points(300)
    y, ill = model(x).argmax(1), torch.tensor([True, True, True, False])
    sides = SideObjective(model, (0, 1, 2))
    rows = ill[y]

    def missed(x_adv: Tensor) -> float:
        return float((~ill[model(x_adv).argmax(1)])[rows].double().mean())

    for attack in (FGSM(eps=0.15), PGD(eps=0.15, steps=10)):
        wanted, any_answer = missed(attack(sides, x, y)), missed(attack(model, x, y))
        assert wanted > any_answer, attack.name
    assert missed(UAP(eps=0.3, fooling_rate=1.0).fit(sides, x[rows], y[rows])(x)) > missed(x)


def test_a_sure_model_still_shows_which_way_to_go() -> None:
    x, y = points(8), torch.zeros(8, dtype=torch.int64)
    model = Line()
    for objective in (SideObjective(lambda x: 1e4 * model(x), (0, 1)), LogitObjective(lambda x: 1e4 * model(x))):
        point = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(objective.evaluate(point, y).loss.sum(), point)
        assert bool((slope.abs().sum(1) > 0).all())


def test_without_positive_classes_there_are_no_sides() -> None:
    with pytest.raises(OptionError, match="positive"):
        SideObjective(Line(), ())
