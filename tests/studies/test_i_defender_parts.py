"""The parts of I-defender's reproduction: the choice by likelihood, the tuning of strengths, what is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from salus.classifier import Classifier
from salus.detectors import IDefender
from salus.detectors.idefender import Covariance
from salus.training import seeded_module
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import drawn, first
from salus_studies.i_defender.black_box import FIXED, SUBSTITUTE
from salus_studies.i_defender.choice import Clean, blends, candidates
from salus_studies.i_defender.defense_gan import runs
from salus_studies.i_defender.figure_one import marginal
from salus_studies.i_defender.layers import MODEL_F, MODEL_F3, WIDE_RESNET
from salus_studies.i_defender.published import BLACK_BOX, SEMI_WHITE_BOX
from salus_studies.i_defender.scales import SCALES, wide_name
from salus_studies.i_defender.supervised import attack_of, tune
from salus_studies.i_defender.taught import METHODS
from salus_studies.i_defender.trend import lines

CLASSES = ("a", "b", "c")


def clouds(count: int, width: int, seed: int, gaussians: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes, each of so many round clouds."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    which = torch.randint(gaussians, (count,), generator=rng)
    centres = 4 * torch.randn(3, gaussians, width, generator=torch.Generator().manual_seed(7))
    return centres[y, which] + torch.randn(count, width, generator=rng), y


def seen(x: torch.Tensor, y: torch.Tensor, x_val: torch.Tensor, y_val: torch.Tensor, parts: int = 1) -> Clean:
    """States as candidates see them, cut into so many layers; blends of the validation states are the outliers."""
    mixed = blends(x_val, 0)
    cut = [list(states.chunk(parts, 1)) for states in (x, x_val, mixed)]
    return Clean(cut[0], y, cut[1], y_val, cut[2], y_val, y_val)


def test_the_likelihood_is_that_of_scipys_gaussians_in_the_standardised_components() -> None:
    from scipy.stats import multivariate_normal

    (x, y), (x_val, y_val) = clouds(600, 5, 0), clouds(300, 5, 1)
    found = candidates(seen(x, y, x_val, y_val), CLASSES, (1,), seed=0)
    mean, values = x.double().mean(0).numpy(), x.double().numpy()
    variance, directions = np.linalg.eigh(np.cov(values.T))
    z, z_val = ((v - mean) @ directions / np.sqrt(variance) for v in (values, x_val.double().numpy()))
    expected = np.mean(
        [
            multivariate_normal(
                z[y == c].mean(0), np.cov(z[y == c].T, bias=True) + 1e-4 * np.eye(5)
            ).logpdf(z_val[y_val == c]).mean()
            for c in range(3)
        ]
    )  # fmt: skip
    full = next(one for one in found["candidates"] if one["covariance"] == "full")
    assert full["likelihood"] == pytest.approx(expected, abs=1e-3)
    assert found["dimensions"] == 5
    assert found["per_component"] == pytest.approx(found["best"]["likelihood"] / 5)


def test_the_choice_finds_how_many_gaussians_there_are_and_ignores_scale() -> None:
    (x, y), (x_val, y_val) = clouds(1500, 4, 2, gaussians=3), clouds(600, 4, 3, gaussians=3)
    found = candidates(seen(x, y, x_val, y_val), CLASSES, (1, 3), seed=0)
    assert found["best"]["components"] == 3
    stretched = torch.tensor([1.0, 50.0, 0.02, 7.0])
    again = candidates(seen(x * stretched, y, x_val * stretched, y_val), CLASSES, (1,), seed=0)
    plain = next(one for one in found["candidates"] if (one["components"], one["covariance"]) == (1, "full"))
    scaled = next(one for one in again["candidates"] if one["covariance"] == "full")
    assert scaled["likelihood"] == pytest.approx(plain["likelihood"], rel=1e-2)


def test_classes_that_tell_nothing_have_the_likelihood_of_one_gaussian_per_component() -> None:
    rng = torch.Generator().manual_seed(4)
    x, y = torch.randn(6000, 6, generator=rng), torch.arange(6000) % 3
    found = candidates(seen(x[:3000], y[:3000], x[3000:], y[3000:]), CLASSES, (1,), seed=0)
    assert found["per_component"] == pytest.approx(-(1 + math.log(2 * math.pi)) / 2, abs=0.02)


def test_layers_taken_jointly_are_one_gaussian_over_all_of_their_components() -> None:
    (x, y), (x_val, y_val) = clouds(900, 6, 0), clouds(300, 6, 1)
    mixed = x @ torch.randn(6, 6, generator=torch.Generator().manual_seed(8))
    mixed_val = x_val @ torch.randn(6, 6, generator=torch.Generator().manual_seed(8))
    whole = candidates(seen(mixed, y, mixed_val, y_val), CLASSES, (1,), seed=0)
    joint = candidates(seen(mixed, y, mixed_val, y_val, parts=2), CLASSES, (1,), seed=0)
    assert joint["dimensions"] == whole["dimensions"] == 6
    full = {name: of["candidates"][0]["likelihood"] for name, of in (("whole", whole), ("joint", joint))}
    # Both whiten linearly, and a Gaussian's likelihood changes by the same constant for every sample then.
    first, second = (of["candidates"][0]["blends"] for of in (whole, joint))
    assert first == pytest.approx(second, abs=2e-3) and full["joint"] != full["whole"]


def test_blends_are_means_of_two_different_samples() -> None:
    x = torch.eye(50)
    mixed = blends(x, 3)
    assert torch.equal(mixed.sum(1), torch.ones(50)) and torch.equal(mixed.diag(), torch.full((50,), 0.5))
    assert bool((mixed.max(1).values == 0.5).all()) and torch.equal(mixed.sum(0), torch.ones(50))


def test_outliers_between_the_classes_are_told_by_what_models_the_classes() -> None:
    (x, y), (x_val, y_val) = clouds(900, 5, 0), clouds(300, 5, 1)
    found = candidates(seen(x, y, x_val, y_val), CLASSES, (1,), seed=0)
    assert found["best_by_blends"]["blends"] > 0.6 and len(found["candidates"]) == 2


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_figure_1_shows_the_mixtures_own_marginal(covariance: Covariance) -> None:
    (x, y) = clouds(900, 5, 0, gaussians=2)
    classifier = Classifier(nn.Identity(), tuple("abcde"), shape=(5,))
    y = y % 5
    detector = IDefender(layers=("logits",), components=2, covariance=covariance, dimensions=5)
    detector.fit(classifier, x, torch.arange(900) % 5)
    gaussians = marginal(detector, 3)
    assert sum(one["weight"] for one in gaussians) == pytest.approx(1, abs=1e-3)
    # A mixture's density, drawn at many points and integrated over the other three axes by sampling, has these moments.
    weights = np.array([one["weight"] for one in gaussians])
    mean = weights @ np.array([one["mean"] for one in gaussians])
    project, offset = (detector.learnt_[f"logits|{name}"] for name in ("project", "offset"))
    own = (x[torch.arange(900) % 5 == 3] @ project - offset)[:, :2].numpy()
    assert mean == pytest.approx(own.mean(0), abs=0.02)
    spread = sum(
        w * (np.array(one["covariance"]) + np.outer(np.array(one["mean"]) - mean, np.array(one["mean"]) - mean))
        for w, one in zip(weights, gaussians, strict=True)
    )
    apart = np.abs(spread - np.cov(own.T, bias=True))
    assert apart.diagonal().max() < 0.03
    if covariance == "full":
        assert apart.max() < 0.03


def test_bisection_finds_the_size_that_leaves_the_wanted_accuracy() -> None:
    tried = tune(lambda eps: math.exp(-10 * eps), 0.3, 1e-3, 1.0, halvings=12)
    eps, reached = min(tried, key=lambda one: abs(one[1] - 0.3))
    assert reached == pytest.approx(0.3, abs=0.005) and eps == pytest.approx(-math.log(0.3) / 10, rel=0.02)
    assert len(tried) == 12
    never = tune(lambda eps: 1.0, 0.3, 1e-3, 1.0, halvings=12)
    assert max(eps for eps, _ in never) == pytest.approx(1.0, rel=0.01), "it ends at the largest size"


def test_attacks_of_table_6_run_at_full_strength() -> None:
    for column in SEMI_WHITE_BOX:
        attack = attack_of(column, 0.1, seed=3)
        assert attack.eps == 0.1 and attack.seed == 3 and not getattr(attack, "early_stop", False)
        assert attack.norm == ("l2" if column.attack in ("iter-l2", "deepfool") else "linf")


def test_detection_accuracy_is_that_on_as_many_clean_as_attacked_images() -> None:
    clean, attacked = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.5, 2.5, 3.5, 0.5])
    fooling = torch.tensor([True, True, False, False])
    counted = scored.at_threshold(clean, attacked, fooling, 2.0)
    assert counted == {
        "false_alarms": 0.25, "caught": 0.5, "caught_fooled": 0.5, "accuracy": 0.625, "accuracy_fooled": 0.625
    }  # fmt: skip
    none = scored.at_threshold(clean, attacked, torch.zeros(4, dtype=torch.bool), 2.0)
    assert none["caught_fooled"] is None and none["accuracy_fooled"] is None


def test_fooled_are_those_that_were_right_and_are_wrong() -> None:
    y, before, after = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([1, 1, 1, 2])
    assert scored.fooled(before, after, y).tolist() == [True, False, False, True]
    counted = scored.answers(before, after, y)
    assert (counted["n"], counted["fooled"], counted["clean_accuracy"]) == (4, 2, 0.75)
    assert counted["adversarial_accuracy"] == 0.25


def test_the_thresholds_keep_95_and_99_percent_of_training_images_of_each_class() -> None:
    x, y = clouds(3000, 4, 5)
    network = seeded_module(lambda: nn.Linear(4, 3), 0)
    assert isinstance(network, nn.Linear)
    with torch.no_grad():  # nearest mean: it answers right
        centres = torch.stack([x[y == c].mean(0) for c in range(3)])
        network.weight.copy_(2 * centres)
        network.bias.copy_(-centres.square().sum(1))
    classifier = Classifier(network, CLASSES, shape=(4,))
    detector = IDefender(layers=("logits",), components=1, threshold="id-95").fit(classifier, x, y)
    seen = scored.look(classifier, {"own": detector}, x)
    right = seen.labels == y
    for name, kept in (("id-95", 0.95), ("id-99", 0.99)):
        accepted = (seen.scores["own"] <= scored.THRESHOLDS[name]).double()
        for label in range(3):
            share = float(accepted[right & (y == label)].mean())
            assert share == pytest.approx(kept, abs=0.01)


def test_every_layer_named_exists() -> None:
    from salus.models.registry import build_model

    for network, layers, shape, options in (
        ("model-f", MODEL_F, (1, 28, 28), {}),
        ("model-f", MODEL_F3, (1, 28, 28), {"widths": [64, 128, 128]}),
        ("wrn", WIDE_RESNET, (3, 32, 32), {"depth": 10, "width": 1}),
    ):
        module = seeded_module(lambda n=network, s=shape, o=options: build_model(n, s, 10, o), 0)  # type: ignore[misc]
        classifier = Classifier(module, tuple("abcdefghij"), shape=shape)
        names = [name for layer in layers for name in layer.names]
        if network == "wrn":
            names += [name for candidates in METHODS.values() for of in candidates for name in of]
        states = classifier.states(torch.rand(2, *shape), names)
        assert set(states.hidden) == set(names)
        single, (joint,) = layers[:-1], layers[-1:]
        assert joint.names == tuple(layer.name for layer in single)
    assert {one.layer for one in FIXED} == set(MODEL_F[:-1])


def test_every_line_of_the_tables_is_a_run_and_once() -> None:
    assert len(runs("mnist")) == 10 and len(runs("fashion-mnist")) == 12
    for data, paper in BLACK_BOX.items():
        assert len(set(runs(data))) == len(runs(data))
        assert (10, 800, 0.3) in runs(data) and (*paper.setting, 0.1) in runs(data)


def test_beside_table_1_the_longest_descents_are_left_out() -> None:
    assert len(runs("mnist", SUBSTITUTE)) == 9 and len(runs("fashion-mnist", SUBSTITUTE)) == 10
    assert set(runs("mnist", SUBSTITUTE)) < set(runs("mnist"))
    assert lines("mnist") == [5, 2, 1] and lines("fashion-mnist") == [10, 5, 2, 1]


def test_the_full_scale_is_the_papers() -> None:
    full = SCALES["full"]
    assert (wide_name(full.shallow), wide_name(full.deep)) == ("WRN-34-8", "WRN-46-8")
    assert full.generator.epochs == 1000 and full.shorter == 1
    assert {full.train_images, full.test_images, full.projected, full.wide_images, full.gray_images} == {None}
    assert SCALES["small"].iterations(800) == 800 and SCALES["smoke"].iterations(25) == 1


def test_fewer_images_are_the_first_of_more(toy) -> None:  # type: ignore[no-untyped-def]
    assert torch.equal(first(toy.test, 7).x, toy.test.x[:7]) and len(first(toy.test, None)) == len(toy.test)
    some = drawn(toy.test, 20, 0)
    assert len(some) == 20 and torch.equal(drawn(toy.test, 20, 0).x, some.x)
    assert drawn(toy.test, 10_000, 0) is toy.test
