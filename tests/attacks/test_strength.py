"""Attacks are strong: on trained networks of signals, images and tables none returns its input, and none lags."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import APGD, ATTACKS, FGSM, PGD, Attack, AutoAttack

Victim = tuple[nn.Module, Tensor, Tensor]
SHAPES = {"table": (20,), "signal": (1, 40), "image": (1, 10, 10)}
MINIMAL = sorted(name for name, cls in ATTACKS.own.items() if cls.closest)
#: What SmoothPGD may do says nothing about classes that differ in fine detail alone; it has tests of its own.
BOUNDED = sorted(
    name for name, cls in ATTACKS.own.items() if not cls.closest and "linf" in cls.norms and name != "smooth-pgd"
)
#: Enough for these small networks.
QUICK: dict[str, dict[str, Any]] = {
    "cgba": {"queries": 1000},
    "hop-skip-jump": {"queries": 1000},
    "nes": {"queries": 600},
    "boundary": {"queries": 2500},
    "square": {"queries": 400},
    "auto-attack": {"square_queries": 150, "steps": 20},
    "carlini-wagner-l2": {"steps": 60},
    "carlini-wagner-linf": {"steps": 60},
    "ddn": {"steps": 250},
    "dual-averaging": {"steps": 250},
    "fmn": {"steps": 300},
}


def victim(kind: str, classes: int = 4) -> Victim:
    """Learn overlapping classes; return fresh samples that the network gets right."""
    shape = SHAPES[kind]
    rng = torch.Generator().manual_seed(5)
    centres = 0.5 + 0.14 * torch.randn(classes, *shape, generator=rng)
    y = torch.arange(1200) % classes
    x = (centres[y] + 0.12 * torch.randn(1200, *shape, generator=rng)).clamp(0, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        width = x[0].numel()
        body: list[nn.Module] = [nn.Flatten(), nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()]
        if kind == "signal":
            body = [nn.Conv1d(1, 8, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * width, 32), nn.ReLU()]
        net = nn.Sequential(*body, nn.Linear(32, classes))
        optimiser = torch.optim.Adam(net.parameters(), 0.005)
        for _ in range(120):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[200:]), y[200:]).backward()
            optimiser.step()
    net.eval()
    right = (net(x[:200]).argmax(1) == y[:200]).nonzero()[:64, 0]
    assert len(right) == 64
    return net, x[right], y[right]


@pytest.fixture(scope="module", params=sorted(SHAPES))
def case(request: pytest.FixtureRequest) -> tuple[str, Victim]:
    return request.param, victim(request.param)


def robust(attack: Attack, at: Victim) -> float:
    return 1 - float(attack.run(*at).success.float().mean())


@cache
def radius(at: Victim, norm: str) -> float:
    """Find an eps at which FGSM fools about half, so that the attacks differ."""
    for eps in [0.002 * 1.25**step * (1 if norm == "linf" else 6) for step in range(30)]:
        if robust(FGSM(eps=min(eps, 0.9), norm=norm), at) < 0.6:  # type: ignore[arg-type]
            return eps
    raise AssertionError("FGSM never fools half")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_effort_is_never_weaker(case: tuple[str, Victim], norm: Any) -> None:
    _, at = case
    eps = radius(at, norm)
    fgsm, pgd = (robust(attack(eps=eps, norm=norm), at) for attack in (FGSM, PGD))
    apgd = robust(APGD(eps=eps, norm=norm, steps=40), at)
    many = robust(PGD(eps=eps, norm=norm, restarts=3), at)
    whole = robust(AutoAttack(eps=eps, norm=norm, steps=40, square_queries=150), at)
    assert many <= pgd <= fgsm and apgd <= pgd + 0.035 and whole <= min(many, apgd)


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_attack_in_a_ball_fools_far_more_than_noise(name: str, norm: Any, case: tuple[str, Victim]) -> None:
    _, at = case
    net, x, y = at
    eps = 2 * radius(at, norm)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noise = noise.sign() if norm == "linf" else noise / noise.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    by_noise = float((net((x + eps * noise).clamp(0, 1)).argmax(1) != y).float().mean())
    fooled = 1 - robust(ATTACKS[name](eps=eps, norm=norm, **QUICK.get(name, {})), at)
    least = 0.08 if name == "uap" else 0.5
    assert fooled >= by_noise + least, (fooled, by_noise)


@cache
def reference(at: Victim, norm: str) -> Tensor:
    """Find the smallest radius at which plain PGD from x still fools each sample, by bisection, ``[N]``."""
    net, x, y = at
    low, high = torch.zeros(len(x)), torch.full((len(x),), 0.6 if norm == "linf" else 4.0)
    for _ in range(12):
        eps = ((low + high) / 2).reshape(-1, *[1] * (x.ndim - 1))
        point, won = x.clone(), torch.zeros(len(x), dtype=torch.bool)
        for _ in range(30):
            point.requires_grad_()
            (slope,) = torch.autograd.grad(nn.functional.cross_entropy(net(point), y, reduction="sum"), point)
            flat = slope.flatten(1).norm(dim=1).reshape(eps.shape).clamp_min(1e-30)
            step = slope.sign() if norm == "linf" else slope / flat
            change = point.detach() + eps / 8 * step - x
            if norm == "linf":
                change = change.clamp(-eps, eps)
            else:
                change = change * (eps / change.flatten(1).norm(dim=1).reshape(eps.shape).clamp_min(1e-30)).clamp_max(1)
            point = (x + change).clamp(0, 1)
            won |= net(point).argmax(1) != y
        low, high = torch.where(won, low, (low + high) / 2), torch.where(won, (low + high) / 2, high)
    return high


# What these look for is a distance, in which images are but long vectors.
@pytest.mark.parametrize("case", ["signal", "table", pytest.param("image", marks=pytest.mark.soak)], indirect=True)
@pytest.mark.parametrize("name", MINIMAL)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_without_eps_fool_all_from_as_near_as_a_plain_reference(
    name: str, norm: Any, case: tuple[str, Victim]
) -> None:
    if norm not in ATTACKS[name].norms:
        pytest.skip(f"{name} knows {ATTACKS[name].norms} alone")
    _, at = case
    found = ATTACKS[name](norm=norm, **QUICK.get(name, {})).run(*at)
    assert float(found.success.float().mean()) >= 0.99
    assert bool((found.distance > 0).all())
    # DeepFool takes a few steps, and those who see answers alone pay for that in distance.
    slack = {"deepfool": 1.15, "hop-skip-jump": 1.6, "boundary": 2.5, "cgba": 1.4}.get(name, 1.03)
    assert float(found.distance.median()) <= slack * float(reference(at, norm).median())
