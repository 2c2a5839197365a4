"""How long a cell takes is said before it begins, and corrected while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import (
    APGD,
    FGSM,
    PGD,
    UAP,
    Attack,
    AutoAttack,
    Boundary,
    CarliniWagnerL2,
    DeepFool,
    SparseRS,
    Square,
)
from salus.attacks.fab import FAB
from salus.audit import duration
from salus.audit.cell import Attempt, Cell
from salus.audit.duration import CellWatch, Estimate, Stopwatch, announcement
from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.guard import Guard
from salus.purifiers import BitDepth
from salus.threats import THREAT_MODELS, ThreatModel, WhiteBox

if TYPE_CHECKING:
    from conftest import Toy


class Clock:
    """A clock that the model under attack moves on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(nn.Module):
    """Takes a tenth of a second for each sample of a forward pass, and no time for a backward pass."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.linear, self.clock = nn.Linear(4, 3), clock

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += 0.1 * len(x)
        logits: Tensor = self.linear(x)
        return logits


class Drawing(Slow):
    """Draws at random as it answers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.rand(x.shape))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cell(clock: Clock, attack: Attack, threat: ThreatModel | None = None, n: int = 100, **defences: Any) -> Cell:
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(0))
    data = Dataset(x, torch.arange(n) % 3, ("a", "b", "c"), Provenance("own", "made here"))
    return Cell(
        data,
        Guard(Classifier(Slow(clock), data.classes, shape=(4,)), **defences),
        Attempt(attack, threat or WhiteBox()),
    )


@pytest.mark.parametrize(
    ("attack", "classes", "forward", "backward"),
    [
        (FGSM(eps=0.1), 3, 1, 1),
        (PGD(eps=0.1, steps=40, restarts=5), 3, 200, 200),
        (PGD(eps=0.1, steps=40, queries=30), 3, 30, 30),
        (APGD(eps=0.1, steps=10, loss="dlr", targets=9), 3, 20, 20),
        (FAB(steps=10, targets=None), 4, 10, 30),
        (FAB(steps=10, targets=2), 4, 20, 20),
        (DeepFool(steps=10), 10, 10, 50),
        (CarliniWagnerL2(steps=10, searches=3), 3, 30, 30),
        (Square(eps=0.1, queries=700), 3, 700, 0),
        (SparseRS(eps=2), 3, 5000, 0),
        (AutoAttack(eps=0.1, steps=10, square_queries=100), 3, 10 + 20 + 20 + 100, 50),
    ],
)
def test_an_attack_counts_its_passes(attack: Attack, classes: int, forward: int, backward: int) -> None:
    assert attack.cost(classes) == (forward, backward)


@pytest.mark.parametrize(
    "attack",
    [
        FGSM(eps=0.05),
        PGD(eps=0.05, steps=7, restarts=2, early_stop=False),
        APGD(eps=0.05, steps=7),
        DeepFool(steps=7),
        FAB(steps=7),
        Square(eps=0.05, queries=60),
        SparseRS(eps=2, queries=60, early_stop=False),
    ],
)
def test_no_attack_takes_many_more_passes_than_it_counts(attack: Attack) -> None:
    x = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
    result, cost = attack.run(nn.Sequential(nn.Linear(4, 3)), x, torch.arange(12) % 3), attack.cost(3)
    assert cost is not None
    assert int(result.queries.max()) <= cost.forward + 4  # where it begins and ends is judged too
    assert int(result.passes.max()) <= cost.backward + 1


def test_a_cell_is_estimated_from_one_measured_batch(clock: Clock) -> None:
    estimate = Stopwatch(clock).estimate(cell(clock, PGD(eps=0.1, steps=40)))
    assert estimate is not None
    assert (estimate.samples, estimate.passes) == (100, 40)
    assert estimate.seconds == pytest.approx(100 * 40 * 0.1)
    assert clock.now <= 0.1 * 64 * 2 + 1, "what measures is no long work itself"


def test_a_limit_of_time_is_believed(clock: Clock) -> None:
    estimate = Stopwatch(clock).estimate(cell(clock, PGD(eps=0.1, time_limit=7.0)))
    assert estimate is not None and estimate.seconds == 7.0


@pytest.mark.parametrize("name", ["oblivious", "adaptive", "decision-only"])
def test_every_turn_of_an_attacker_is_counted(clock: Clock, name: str) -> None:
    attack: Attack = Boundary(queries=50) if name == "decision-only" else PGD(eps=0.1, steps=10)
    estimate = Stopwatch(clock).estimate(cell(clock, attack, THREAT_MODELS[name](), purifier=BitDepth()))
    assert estimate is not None
    if name == "adaptive":  # the oblivious attack, end to end, each class from two starts, and Square at last
        assert estimate.turns[0] == pytest.approx(100 * 10 * 0.1) and len(estimate.turns) > 5
        assert estimate.passes > 10 * len(estimate.turns)
    else:
        assert len(estimate.turns) == 1


def test_driving_scores_down_is_in_the_estimate(toy: Toy) -> None:
    attempt = Attempt(PGD(eps=0.1, steps=10), THREAT_MODELS["adaptive"]())
    guarded = Cell(toy.test.subset(torch.arange(20)), toy.guard(0.05), attempt)
    estimate = Stopwatch().estimate(guarded)
    assert estimate is not None and estimate.driving > 0
    assert estimate.seconds == pytest.approx(sum(estimate.turns) + estimate.driving)


def test_what_is_left_counts_the_driving_of_all_samples_at_hand(clock: Clock) -> None:
    lefts, advance = told()
    watch = CellWatch(100, advance, Estimate(100, 30, (10.0, 40.0), driving=6.0), clock)
    assert lefts == [56.0]
    watch.tried("control", 50, 100)
    assert lefts[-1] == 40 * 0.5 + 6
    watch.finished(100)
    watch.drives(100)
    assert lefts[-1] == 6


def test_what_nobody_can_tell_is_not_guessed(clock: Clock) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of luck")

    assert Stopwatch(clock).estimate(cell(clock, UAP(eps=0.1))) is None
    broken = cell(clock, FGSM(eps=0.1))
    broken.guard.classifier.module = Broken()
    assert Stopwatch(clock).estimate(broken) is None


def test_measuring_draws_nothing_from_the_global_generator(clock: Clock) -> None:
    noisy = cell(clock, FGSM(eps=0.1))
    noisy.guard.classifier.module = Drawing(clock)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    Stopwatch(clock).estimate(noisy)
    assert torch.equal(torch.rand(3), expected)


def told() -> tuple[list[float], Any]:
    lefts: list[float] = []
    return lefts, lambda amount=1, note="", left=None: lefts.append(round(left, 3))


def test_what_is_left_follows_who_still_stands_and_the_pace_as_it_is(clock: Clock) -> None:
    lefts, advance = told()
    watch = CellWatch(100, advance, Estimate(100, 30, (10.0, 40.0, 50.0)), clock)
    assert lefts == [100.0]
    clock.now = 20.0  # twice as long as was thought
    watch.tried("eq6", 50, 100)
    assert lefts[-1] == 2 * (40 + 50) * 0.5
    clock.now = 60.0  # as was thought at this pace
    watch.tried("class-consistent", 10, 100)
    assert lefts[-1] == 2 * 50 * 0.1
    watch.finished(100)
    assert lefts[-1] == 0


def test_parts_that_are_done_tell_of_those_that_are_not(clock: Clock) -> None:
    lefts, advance = told()
    watch = CellWatch(100, advance, None, clock)
    clock.now = 30.0
    watch.finished(25)
    assert lefts == [90.0]


def test_long_cells_are_announced_with_what_shortens_them(clock: Clock) -> None:
    long, short = cell(clock, AutoAttack(eps=0.1)), cell(clock, FGSM(eps=0.1))
    lines = announcement(
        [(long, Estimate(200, 6000, (900.0, 300.0))), (short, Estimate(200, 1, (0.1,))), (short, None)]
    )
    assert lines[0].startswith("The audit takes up to about 20 min for 2 cells")
    assert "AutoAttack eps=0.1 on bare, white-box: up to about 20 min: 200 samples x 6,000 passes of 1 ms" in lines[1]
    assert "--attack pgd instead of auto-attack" in lines[-1] and "--samples 25" in lines[-1]
    assert len(lines) == 3
    many = announcement([(long, Estimate(200, 6000, (100.0,)))] * 8)
    assert "3 more cells" in many[-2]


def test_short_cells_are_not_announced(clock: Clock) -> None:
    assert announcement([(cell(clock, FGSM(eps=0.1)), Estimate(200, 1, (duration.LONG,)))]) == []
    assert announcement([]) == []
