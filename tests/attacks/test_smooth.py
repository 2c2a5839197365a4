"""SmoothPGD's perturbations are smooth, as strong as the published attack's, and inside, which those are not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD, SmoothPGD
from salus.attacks.ball import ball
from salus.errors import OptionError

SIZES, SIGMAS = (5, 7, 11, 15, 19), (1.0, 3.0, 5.0, 7.0, 10.0)


def kernels() -> list[Tensor]:
    """The bank of the published code, every size with every sigma."""
    bank = []
    for size in SIZES:
        for sigma in SIGMAS:
            at = torch.arange(size, dtype=torch.float64) - size // 2
            weight = torch.exp(-(at**2) / 2 / sigma**2)
            bank.append(weight / weight.sum())
    return bank


def smoothed(change: Tensor) -> Tensor:
    """The published average of convolutions, one channel after the other."""
    rows = []
    for kernel in kernels():
        weight = kernel[None, None].to(change)
        rows.append(
            torch.cat([nn.functional.conv1d(row, weight, padding=len(kernel) // 2) for row in change.split(1, 1)], 1)
        )
    return torch.stack(rows).mean(0)


def published(net: nn.Module, x: Tensor, y: Tensor, start: Tensor, eps: float, steps: int) -> Tensor:
    """Han et al.'s loop; it never looks at the bounds."""
    point = start
    for _ in range(steps):
        point = point.detach().requires_grad_()
        loss = nn.functional.cross_entropy(net(x + smoothed(point - x)), y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, point)
        point = (point + 2.5 * eps / steps * slope.sign()).clamp(x - eps, x + eps)
    return (x + smoothed(point - x)).detach()


def roughness(change: Tensor) -> float:
    """The mean step between neighbours."""
    return float(change.diff(dim=-1).abs().mean())


def test_it_is_the_published_attack_where_the_bounds_are_far(trained: Any) -> None:
    net, x, y = trained
    net, x = copy.deepcopy(net).double(), 0.3 + 0.4 * x.double()
    start = PGD(eps=0.1, steps=5, early_stop=False)(net, x, y)
    got = SmoothPGD(eps=0.1, steps=10, schedule="madry", early_stop=False).run(net, x, y, start=start).x_adv
    expected = published(net, x, y, start, 0.1, 10)
    assert float((got - expected).abs().max()) < 1e-6


def test_it_stays_inside_the_bounds_where_the_published_code_does_not(trained: Any) -> None:
    net, x, y = trained
    x = ((x - 0.25) / 0.5).clamp(0, 1)  # touches both bounds, as heartbeats do
    outside = published(net, x, y, x, 0.3, 10)
    assert float(outside.min()) < -0.01 and float(outside.max()) > 1.01
    result = SmoothPGD(eps=0.3, steps=10).run(net, x, y)
    assert float(result.x_adv.min()) >= 0 and float(result.x_adv.max()) <= 1
    fooled = net(outside.clamp(0, 1)).argmax(1) != y
    assert int(result.success.sum()) >= int(fooled.sum()) - 1 > 0


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 0.7)])
def test_it_is_smoother_than_pgd_and_still_fools(norm: Any, eps: float, trained: Any) -> None:
    net, x, y = trained
    smooth = SmoothPGD(eps=eps, norm=norm, early_stop=False).run(net, x, y)
    rough = PGD(eps=eps, norm=norm, early_stop=False).run(net, x, y)
    assert roughness(smooth.x_adv - x) < 0.4 * roughness(rough.x_adv - x)
    clean = int((net(x).argmax(1) != y).sum())
    assert int(smooth.success.sum()) > clean + 10
    assert float(smooth.distance.max()) <= eps


def test_its_gradient_is_that_through_the_smoothing(make_x: Any) -> None:
    for shape in ((2, 30), (1, 3), (2, 21, 9)):
        everywhere = ball("linf", make_x(3, shape).double(), 0.1, (0.0, 1.0))
        change, weight = make_x(3, shape).double().requires_grad_(), make_x(3, shape, seed=1).double()
        attack = SmoothPGD(eps=0.1)
        (slope,) = torch.autograd.grad((attack.smooth(change) * weight).sum(), change)
        torch.testing.assert_close(attack.pull(everywhere, weight), slope)


def test_a_constant_change_stays_what_it_is_away_from_the_rim() -> None:
    signal = SmoothPGD(eps=0.1).smooth(torch.full((2, 3, 60), 0.1))
    torch.testing.assert_close(signal[..., 9:-9], torch.full((2, 3, 42), 0.1))
    image = SmoothPGD(eps=0.1).smooth(torch.full((2, 3, 40, 30), 0.1))
    torch.testing.assert_close(image[..., 9:-9, 9:-9], torch.full((2, 3, 22, 12), 0.1))
    assert float(signal.max()) <= 0.1 + 1e-7 and float(image.max()) <= 0.1 + 1e-7


def test_images_are_smoothed_along_both_sides(make_x: Any) -> None:
    change = make_x(2, (3, 12, 15)).double()
    attack = SmoothPGD(eps=0.1, sizes=(5,), sigmas=(1.0,))

    def along(axis: int, values: Tensor) -> Tensor:
        rows: Tensor = attack_1d.smooth(values.movedim(axis, -1).flatten(0, 1)).unflatten(0, (2, -1))
        return rows.movedim(-1, axis)

    attack_1d = SmoothPGD(eps=0.1, sizes=(5,), sigmas=(1.0,))
    torch.testing.assert_close(attack.smooth(change), along(3, along(2, change)))


def test_wider_kernels_smooth_more(trained: Any) -> None:
    net, x, y = trained
    rough = [
        roughness(SmoothPGD(eps=0.1, sizes=(size,), sigmas=(5.0,), early_stop=False)(net, x, y) - x)
        for size in (1, 5, 11)
    ]
    assert rough[0] > rough[1] > rough[2] > 0


def test_momentum_and_restarts_are_those_of_pgd(trained: Any) -> None:
    net, x, y = trained
    options: dict[str, Any] = {"eps": 0.1, "steps": 10, "early_stop": False}
    one = SmoothPGD(**options).run(net, x, y)
    two = SmoothPGD(**options, restarts=2).run(net, x, y)
    assert bool((two.success >= one.success).all())
    assert not torch.equal(SmoothPGD(**options, momentum=1.0)(net, x, y), one.x_adv)
    none = SmoothPGD(**options, sizes=(1,), sigmas=(1.0,))(net, x, y)  # nothing is smoothed
    torch.testing.assert_close(none, PGD(**options, random_start=False)(net, x, y), rtol=0, atol=1e-6)


def test_tables_are_refused_with_a_sentence(make_net: Any, make_x: Any) -> None:
    with pytest.raises(OptionError, match=r"SmoothPGD: the features of a table .*signals \[N, C, L\]"):
        SmoothPGD(eps=0.1)(make_net((7,), 3), make_x(5, (7,)), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sizes": ()}, "sizes must be odd numbers from 1 up, joined by"),
        ({"sizes": (4,)}, "sizes must be odd numbers from 1 up, joined by"),
        ({"sizes": (-3,)}, "sizes must be odd numbers from 1 up, joined by"),
        ({"sigmas": ()}, "sigmas must be numbers above 0, joined by"),
        ({"sigmas": (0.0,)}, "sigmas must be numbers above 0, joined by"),
    ],
)
def test_kernels_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        SmoothPGD(eps=0.1, **options)


def test_lists_of_sizes_are_as_good_as_tuples() -> None:
    lists = SmoothPGD(eps=0.1, sizes=[5, 7], sigmas=[1.0])  # type: ignore[arg-type]
    assert lists == SmoothPGD(eps=0.1, sizes=(5, 7), sigmas=(1.0,)) and hash(lists) is not None


def test_what_may_not_change_neither_changes_nor_pulls(trained: Any) -> None:
    net, x, y = trained
    mask = torch.arange(24) < 12
    frozen = x[:, :, 12:]

    def half(batch: Tensor) -> Tensor:
        return net(torch.cat([batch[:, :, :12], frozen], 2))  # type: ignore[no-any-return]

    options: dict[str, Any] = {"eps": 0.1, "steps": 10, "early_stop": False}
    masked = SmoothPGD(**options, mask=mask)(net, x, y)
    assert torch.equal(masked[:, :, 12:], frozen) and not torch.equal(masked, x)
    torch.testing.assert_close(masked, SmoothPGD(**options, mask=mask)(half, x, y), rtol=0, atol=1e-5)
