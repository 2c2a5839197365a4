"""Guards whose callers are watched: accounts, refusals, real traffic, and attackers who know the monitor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import Boundary, HopSkipJump, Square
from salus.classifier import Classifier
from salus.detectors.queries import Lifelike, Nearest, Stream
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.tolerated import Tolerated
from salus.threats.watched import Access, Watched

RADII = (0.05, 0.4)
OUT_OF_REACH = (1e-6, 1e-6)


class Mean(nn.Module):
    """Says class 1 where the mean of the first half is above that of the second."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[2] // 2
        margin = x[:, 0, :half].mean(1) - x[:, 0, half:].mean(1)
        return 20 * torch.stack([-margin, margin], 1)


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(Classifier(Mean(), ("low", "high"), shape=(1, 24)))


def life(seed: int, beats: int = 200) -> Stream:
    draw = torch.Generator().manual_seed(seed)
    base = 0.5 + 0.2 * torch.rand(1, 1, 24, generator=draw)
    return Stream(f"p{seed}", base + 0.05 * torch.randn(beats, 1, 24, generator=draw), torch.zeros(beats).long())


@pytest.fixture(scope="module")
def attacked(guard: Guard) -> tuple[Tensor, Tensor]:
    x = 0.4 + 0.2 * torch.rand(3, 1, 24, generator=torch.Generator().manual_seed(7))
    return x, guard(x).labels


def watched(
    guard: Guard,
    attacked: tuple[Tensor, Tensor],
    monitor: object,
    radii: tuple[float, float] = RADII,
    alarm: float = 1.0,
    **access: object,
) -> Watched:
    return Watched(
        guard,
        monitor,  # type: ignore[arg-type]
        *attacked,
        access=Access(**access),  # type: ignore[arg-type]
        life=[life(seed) for seed in (50, 51)],
        radii=radii,
        alarm=alarm,
    )


def fitted(kind: type[Nearest] | type[Lifelike] = Nearest) -> Nearest | Lifelike:
    return kind().fit([life(seed) for seed in range(6)])


ATTACK = HopSkipJump(eps=0.4, norm="l2", queries=300, bounds=(0.0, 1.0))


def test_an_attack_that_nobody_watches_wins(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    world = watched(guard, attacked, None)
    ATTACK.run(world, *attacked, judge=False)
    assert all(trail.won is not None for trail in world.trails)
    assert all(trail.first is None for trail in world.trails)


def test_a_watched_attack_ends_at_its_refusal(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    world = watched(guard, attacked, fitted(), OUT_OF_REACH)
    ATTACK.run(world, *attacked, judge=False)
    for sample, trail in enumerate(world.trails):
        assert world.over(sample)
        assert world.refused(sample)
        assert trail.first == trail.queries <= 300
        assert trail.won is None


def test_who_has_won_asks_no_more(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    world = watched(guard, attacked, None)
    ATTACK.run(world, *attacked, judge=False)
    for sample, trail in enumerate(world.trails):
        assert world.over(sample)
        assert not world.refused(sample)
        assert trail.won == trail.queries
        assert trail.point is not None
        assert bool(world.within(trail.point, [sample]))
        assert guard(trail.point).answers != world.y[sample]


def test_who_looks_for_the_nearest_goes_on_after_a_win(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    world = watched(guard, attacked, None, (-1.0, float("inf")))
    ATTACK.run(world, *attacked, judge=False)
    assert all(trail.won is not None and trail.queries > trail.won for trail in world.trails)


def test_more_accounts_last_longer_and_are_refused_one_by_one(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    one, three = (watched(guard, attacked, fitted(), OUT_OF_REACH, accounts=count) for count in (1, 3))
    for world in (one, three):
        ATTACK.run(world, *attacked, judge=False)
    for sample, (alone, several) in enumerate(zip(one.trails, three.trails, strict=True)):
        assert several.queries > alone.queries
        assert several.refused == 3 or not three.over(sample)


def test_half_real_traffic_is_sent_and_counted_apart(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    monitor = fitted()
    world = watched(guard, attacked, monitor, life=0.5)
    ATTACK.run(world, *attacked, judge=False)
    trail = world.trails[0]
    assert trail.sent == 2 * trail.queries
    assert monitor.memory.recall("0/0").asked > trail.queries


def test_an_alarm_that_refuses_nobody_shows_every_level_at_once(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    strict = watched(guard, attacked, fitted(), OUT_OF_REACH)
    ATTACK.run(strict, *attacked, judge=False)
    world = Watched(guard, fitted(), *attacked, radii=OUT_OF_REACH, alarm=1e9)
    ATTACK.run(world, *attacked, judge=False)
    for noted, ended in zip(world.trails, strict.trails, strict=True):
        assert noted.reaches(1.0) == ended.first
        low, high = noted.reaches(0.1), noted.reaches(1e9)
        assert low is not None
        assert low <= (ended.first or 0)
        assert high is None


@pytest.mark.parametrize(
    "attack", [replace(ATTACK, queries=150), Boundary(eps=0.4, norm="l2", queries=80), Square(eps=0.05, queries=80)]
)
def test_who_knows_the_monitor_is_not_refused_by_one_that_any_single_query_sets_off(
    guard: Guard, attacked: tuple[Tensor, Tensor], attack: HopSkipJump | Boundary | Square
) -> None:
    scores = attack.knowledge == "logits"
    for alarm in (1.0, 0.3):
        world = watched(guard, attacked, fitted(), alarm=alarm, scores=scores)
        knowing = Tolerated(world, queries=int(attack.queries or 1), shape=torch.full((6,), 0.03))
        attack.run(knowing, *attacked, judge=False)
        assert all(trail.first is None for trail in world.trails)
        assert max(trail.queries for trail in world.trails) > 0
        assert all(score < alarm for trail in world.trails for _, score in trail.scores)


def test_attackers_do_not_share_accounts_or_memory(guard: Guard, attacked: tuple[Tensor, Tensor]) -> None:
    monitor = fitted()
    world = watched(guard, attacked, monitor, accounts=2)
    ATTACK.run(world, *attacked, judge=False)
    callers = {caller for caller, _ in monitor.memory.callers()}
    assert callers == {f"{sample}/{account}" for sample in range(3) for account in range(2)}


def test_accesses_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="accounts"):
        Access(accounts=0)
    with pytest.raises(OptionError, match="life"):
        Access(life=1.0)
