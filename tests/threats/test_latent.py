"""The attacker who searches the range of Defense-GAN's generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import BIM, PGD, CarliniWagnerL2, Patch
from salus.detectors import DefenseGAN
from salus.errors import OptionError
from salus.generative import encoder
from salus.generative.encoder import encoder_of
from salus.generative.generator import SampleGenerator
from salus.generative.projection import OntoRange
from salus.guard import Guard
from salus.purifiers import DefenseGANPurifier
from salus.threats import GuardObjective, LatentSearch, adaptive, oblivious, purified
from salus.threats.adaptive import variants_of

if TYPE_CHECKING:
    from conftest import Toy

QUICK: dict[str, Any] = {"restarts": 1, "iterations": 30, "learning_rate": 2.0}


class Plane(nn.Module):
    """G(z) = m + z A: the plane through the three classes' means, A with orthonormal rows."""

    shape, latent = (8,), 2

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.middle = nn.Parameter(means.mean(0))
        self.basis = nn.Parameter(torch.linalg.qr((means[1:] - means[:1]).T).Q.T.contiguous())

    def forward(self, z: Tensor) -> Tensor:
        return self.middle + z @ self.basis

    def apart(self, x: Tensor) -> Tensor:
        """Squared distance from the plane, in closed form."""
        centred = x - self.middle
        return (centred - centred @ self.basis.T @ self.basis).square().sum(1).detach()


@pytest.fixture(autouse=True)
def _quick_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder of a plane is soon trained, and a plane no place for many questions."""
    monkeypatch.setattr(encoder, "STEPS", 150)
    monkeypatch.setattr(purified, "PROJECTED_QUERIES", 10)


@pytest.fixture(scope="module")
def plane(toy: Toy) -> Plane:
    return Plane(torch.stack([toy.train.x[toy.train.y == k].mean(0) for k in range(3)]))


def guard_of(toy: Toy, plane: Plane, kind: str) -> Guard:
    generator = SampleGenerator(plane, width=1)  # type: ignore[arg-type]
    detectors = [DefenseGAN(generator=generator, **QUICK)] if "detector" in kind else []
    purifier = DefenseGANPurifier(generator=generator, **QUICK) if "purifier" in kind else None
    return Guard(toy.classifier, detectors, purifier).fit(toy.train, toy.calibration, 0.05)


KINDS = ["detector", "purifier", "detector and purifier"]


def wins(toy: Toy, guard: Guard, search: LatentSearch, x: Tensor, y: Tensor) -> Tensor:
    """Tell whom the search fools by way of any class."""
    objective = GuardObjective(guard, targeted=True)
    return torch.stack([search.run(objective, x, (y + step) % 3).success for step in (1, 2)]).any(0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_gets_past_defense_gan_nearly_as_often_as_a_white_box_attack_past_nothing(
    toy: Toy, plane: Plane, kind: str
) -> None:
    guard, (x, y) = guard_of(toy, plane, kind), (toy.test.x[:90], toy.test.y[:90])
    white = PGD(eps=0.3).run(toy.classifier, x, y).success.float().mean()
    won = wins(toy, guard, LatentSearch(eps=0.3, targeted=True), x, y).float().mean()
    assert float(won) > 0.9 * float(white)


def test_where_nothing_is_defended_it_wins(toy: Toy, plane: Plane) -> None:
    guard, (x, y) = guard_of(toy, plane, "detector"), (toy.test.x[:90], toy.test.y[:90])
    guard.detectors[0].threshold_ = 1e9  # it accepts whatever it is shown
    white = PGD(eps=0.3).run(toy.classifier, x, y).success
    won = wins(toy, guard, LatentSearch(eps=0.3, targeted=True), x, y)
    assert float(won.float().mean()) > 0.95 * float(white.float().mean())


def test_it_is_left_out_where_the_attack_may_go_nowhere_near_a_ball(toy: Toy, plane: Plane) -> None:
    guard, (x, y) = guard_of(toy, plane, "detector"), (toy.test.x[:5], toy.test.y[:5])
    patched = {variant.name for variant in variants_of(Patch(eps=4), guard, x, y)}
    assert patched and "latent search" not in patched
    assert "latent search" in {variant.name for variant in variants_of(PGD(eps=0.3), guard, x, y)}


def test_what_it_finds_lies_near_the_range_and_in_the_ball(toy: Toy, plane: Plane) -> None:
    guard, (x, y) = guard_of(toy, plane, "detector"), (toy.test.x[:90], toy.test.y[:90])
    for search in (LatentSearch(eps=0.3, targeted=True), LatentSearch(eps=0.7, norm="l2", targeted=True)):
        result = search.run(GuardObjective(guard, targeted=True), x, (y + 1) % 3)
        change = (result.x_adv.double() - x.double()).flatten(1)
        reach = change.abs().amax(1) if search.norm == "linf" else change.norm(dim=1)
        assert search.eps is not None and float(reach.max()) <= search.eps
        assert float(result.x_adv.min()) >= 0 and float(result.x_adv.max()) <= 1
        assert torch.equal(result.success, guard(result.x_adv).answers == (y + 1) % 3)
        won = result.success
        assert float(won.float().mean()) > 0.3
        assert float(plane.apart(result.x_adv)[won].mean()) < float(plane.apart(x)[won].mean())


def test_it_keeps_to_a_mask_and_to_a_budget(toy: Toy, plane: Plane) -> None:
    guard, (x, y) = guard_of(toy, plane, "purifier"), (toy.test.x[:20], toy.test.y[:20])
    mask = tuple(place < 6 for place in range(8))
    result = LatentSearch(eps=0.3, mask=mask, targeted=True, queries=50).run(
        GuardObjective(guard, targeted=True), x, (y + 1) % 3
    )
    assert torch.equal(result.x_adv[:, 6:], x[:, 6:])
    assert not torch.equal(result.x_adv, x)
    assert int(result.queries.max()) <= 50


def test_a_sample_is_attacked_alike_whoever_stands_beside_it(toy: Toy, plane: Plane) -> None:
    guard, (x, y) = guard_of(toy, plane, "detector"), (toy.test.x[:12], toy.test.y[:12])
    objective, search = GuardObjective(guard, targeted=True), LatentSearch(eps=0.2, targeted=True)
    together = search.run(objective, x, (y + 1) % 3).x_adv
    alone = torch.cat([search.run(objective, x[i : i + 1], (y[i : i + 1] + 1) % 3).x_adv for i in range(3)])
    torch.testing.assert_close(alone, together[:3], rtol=1e-3, atol=1e-3)
    assert torch.equal(search.run(objective, x, (y + 1) % 3).x_adv, together)


@pytest.mark.parametrize("kind", KINDS)
def test_the_adaptive_attack_uses_it_by_itself(toy: Toy, plane: Plane, kind: str) -> None:
    guard, (x, y) = guard_of(toy, plane, kind), (toy.test.x[:30], toy.test.y[:30])
    result = adaptive(BIM(eps=0.25, steps=4), guard, x, y)
    assert result.names[:2] == ("oblivious", "latent search")
    if guard.detectors:  # a plane is so simple a range that the oblivious attack gets through the purifier alone
        assert bool((result.variants == 1).any())
    blind = guard(oblivious(BIM(eps=0.25, steps=4), guard, x, y).x_adv).answers
    assert bool((result.success >= ((blind >= 0) & (blind != y))).all())
    assert float((result.x_adv.double() - x.double()).abs().max()) <= 0.25


def test_descents_whose_gradient_leads_nowhere_are_passed_straight_through(
    toy: Toy, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, (x, y) = guard_of(toy, plane, "purifier"), (toy.test.x[:60], toy.test.y[:60])
    white = PGD(eps=0.3).run(toy.classifier, x, y).success.float().mean()

    def won(name: str) -> float:
        fallen = torch.zeros(60, dtype=torch.bool)
        for variant in variants_of(PGD(eps=0.3, steps=20), guard, x, y):
            for goal in variant.goals if variant.name == name else []:
                found = variant.engine.run(variant.objective, x, y if goal is None else goal).x_adv
                fallen |= guard(found).answers != y
        return float(fallen.float().mean())

    exact, straight = "end-to-end, each class", "straight through the projection"
    assert min(won(exact), won(straight)) > 0.9 * float(white)
    monkeypatch.setattr(OntoRange, "back_to", lambda self, x, distances, slope: torch.zeros_like(x))
    assert won(exact) < 0.6 * won(straight)
    assert won(straight) > 0.9 * float(white)


def test_an_encoder_leads_round_descents_whose_gradient_leads_nowhere(
    toy: Toy, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, (x, y) = guard_of(toy, plane, "purifier"), (toy.test.x[:60], toy.test.y[:60])
    white = PGD(eps=0.3).run(toy.classifier, x, y).success.float().mean()
    monkeypatch.setattr(OntoRange, "back_to", lambda self, x, distances, slope: torch.zeros_like(x))
    for name in ("an encoder in the projection's place", "through an encoder"):
        fallen = torch.zeros(60, dtype=torch.bool)
        for variant in variants_of(PGD(eps=0.3, steps=20), guard, x, y):
            for goal in variant.goals if variant.name == name else []:
                assert goal is not None
                fallen |= guard(variant.engine.run(variant.objective, x, goal).x_adv).answers != y
        assert float(fallen.float().mean()) > 0.85 * float(white), name


def test_an_encoder_inverts_its_generator_and_is_trained_once(
    toy: Toy, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = SampleGenerator(plane, width=1)  # type: ignore[arg-type]
    made = generator(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * 0.3).detach()
    found = encoder_of(generator)
    assert float((generator(found(made)) - made).square().mean()) < 0.4 * float((made - made.mean(0)).square().mean())
    monkeypatch.setattr(encoder, "_train", lambda *_: pytest.fail("trained again"))
    assert encoder_of(generator) is found


def test_attacks_that_look_for_the_smallest_change_use_it_too(toy: Toy, plane: Plane) -> None:
    guard, (x, y) = guard_of(toy, plane, "purifier"), (toy.test.x[:10], toy.test.y[:10])
    result = adaptive(CarliniWagnerL2(steps=10, searches=2), guard, x, y)
    assert "latent search" in result.names
    distance = (result.x_adv - x).flatten(1).norm(dim=1)[result.success]
    assert float(distance.median()) < 1.0, "no sample of another class made from scratch"


def test_a_guard_without_a_generator_is_no_victim(toy: Toy) -> None:
    with pytest.raises(OptionError, match="hold a generator"):
        LatentSearch(eps=0.1, targeted=True).run(
            GuardObjective(toy.guard(0.05), targeted=True), toy.test.x[:4], toy.test.y[:4]
        )
