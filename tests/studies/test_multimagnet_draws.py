"""MultiMagNet's experiments: votes and shares as by hand, and attacks held to a length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.detectors.multimagnet_calibration import Measured
from salus.detectors.multimagnet_grid import Combination, Measure
from salus.detectors.votes import rejection_probability
from salus_studies.multimagnet.attacked import (
    RELEASED,
    SURROGATE,
    WHITE_BOX,
    AttackedImages,
    agrees,
    arms,
    engine,
    fit_length,
    fit_share,
    hold_to,
    run,
    settings,
    shorten,
    with_eps,
)
from salus_studies.multimagnet.breaking import pooled
from salus_studies.multimagnet.draws import Side, experiments, figures, votes
from salus_studies.multimagnet.observed import mixed, read, write

RE = Combination(n=3, metric="re", drop_rate=0.1)


def bools(text: str) -> Tensor:
    return torch.tensor([letter == "1" for letter in text])


def test_figures_are_shares_as_the_papers_tables_use_them() -> None:
    #         four legitimate, four attacked
    columns = {
        "attacked": bools("00001111"),
        "rejected": bools("10001110"),
        "right": bools("11100010"),
        "reformed": bools("11101101"),
    }
    found = figures(columns)
    assert found["accuracy"] == 6 / 8  # three legitimate accepted, three attacked rejected
    assert found["ppv"] == 3 / 4 and found["npv"] == 3 / 4
    assert found["accepted"] == 2 / 4 and found["reformed"] == 3 / 4  # of images 1, 2, 3 and 7
    assert found["undefended"] == 4 / 8
    assert found["kept"] == 2 / 4 and found["kept_reformed"] == 2 / 4
    assert found["fallen"] == 1 / 4 and found["fallen_reformed"] == 0
    nobody = figures({**columns, "rejected": bools("11111111")})
    assert nobody["accepted"] is None and nobody["npv"] == 1


def test_most_of_those_drawn_decide_and_minta_shares_the_lowest_threshold() -> None:
    values = torch.tensor([[3.0, 1.0, 3.0, 0.0], [3.0, 1.0, 3.0, 0.0]])
    thresholds = torch.tensor([2.0, 2.0, 2.0, 0.5])
    everyone = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2]])
    three = torch.tensor([3, 3])
    assert votes(values, thresholds, everyone, three, RE).tolist() == [True, False]
    lowest = Combination(n=3, metric="re", drop_rate=0.1, approach="minTA")
    assert votes(values, thresholds, everyone, three, lowest).tolist() == [True, True]
    assert votes(values, thresholds, everyone, torch.tensor([1, 1]), RE).tolist() == [True, False]


def side(values: Tensor, right: Tensor) -> Side:
    labels = torch.zeros(values.shape, dtype=torch.int64)
    return Side(Measured(("a", "b", "c", "d", "e"), {("re", None): values}, labels), right, labels[:, 0])


@pytest.mark.parametrize("approach", ["MTA", "minTA"])
def test_means_over_many_experiments_are_the_exact_probabilities(approach: Any) -> None:
    rng = torch.Generator().manual_seed(0)
    clean, bad = torch.rand(300, 5, generator=rng), torch.rand(300, 5, generator=rng) + 0.3
    thresholds = torch.tensor([0.9, 0.5, 0.8, 0.7, 0.95])
    combination = Combination(n=3, metric="re", drop_rate=0.1, approach=approach)
    right = torch.ones(300, dtype=torch.bool)
    found = experiments(side(clean, right), side(bad, ~right), combination, thresholds, count=150, seed=1)
    exact = [float(rejection_probability(x, thresholds, 3, approach).mean()) for x in (clean, bad)]
    assert found["ppv"]["mean"] == pytest.approx(1 - exact[0], abs=0.015)
    assert found["npv"]["mean"] == pytest.approx(exact[1], abs=0.015)
    # Batches of 100 vary by more than all 600 together; nothing is random without a defence but the batch.
    assert found["ppv"]["batches"] > 1.5 * found["ppv"]["experiments"] > 0
    assert found["undefended"]["mean"] == 0.5 and found["undefended"]["experiments"] == 0
    assert found["kept"]["mean"] == pytest.approx(found["ppv"]["mean"])
    assert found["reformed"]["mean"] == 1  # every reconstruction is answered rightly


def test_one_draw_serves_a_hundred_inputs_and_experiments_repeat() -> None:
    values = torch.tensor([[0.0, 1.0, 0.0, 1.0, 1.0]]).repeat(50, 1)  # who is drawn decides
    half, right = torch.full((5,), 0.5), torch.ones(50, dtype=torch.bool)
    one = Combination(n=1, metric="re", drop_rate=0.1)
    found = experiments(side(values, right), side(values, right), one, half, count=60, seed=0)
    assert found["ppv"]["batches"] == pytest.approx(found["ppv"]["experiments"])  # 100 images are one batch
    assert found["ppv"]["experiments"] == pytest.approx((0.4 * 0.6) ** 0.5, abs=0.08)  # all or none are rejected
    assert found == experiments(side(values, right), side(values, right), one, half, count=60, seed=0)
    assert found != experiments(side(values, right), side(values, right), one, half, count=60, seed=9)


def test_sizes_are_drawn_for_each_ensemble() -> None:
    values = torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0]]).repeat(500, 1)
    half, right = torch.full((5,), 0.5), torch.ones(500, dtype=torch.bool)
    five = Combination(n=5, metric="re", drop_rate=0.1)
    both = side(values, right), side(values, right)
    assert experiments(*both, five, half, count=3, seed=0)["npv"]["mean"] == 1  # all five drawn: 3 against 2
    mixed_sizes = experiments(*both, five, half, count=30, seed=0, sizes=(1, 5))["npv"]["mean"]
    assert mixed_sizes == pytest.approx((1 + 0.6) / 2, abs=0.06)


def test_table_1s_parameters_reach_arts_attacks() -> None:
    pytest.importorskip("art")

    def made(dataset: str, attack: str, arm: str = WHITE_BOX, **more: Any) -> Any:
        return engine(attack, settings(dataset, attack, arm, **more), seed=0)

    bim = made("mnist", "bim")
    assert bim.name == "art:BasicIterativeMethod" and (bim.eps, bim.eps_step, bim.max_iter) == (0.15, 0.07, 50)
    assert with_eps(settings("mnist", "bim", WHITE_BOX), 0.03)["eps_step"] == pytest.approx(0.014)
    assert made("cifar10", "bim").max_iter == 1000 and made("cifar10", "bim", iterations=20).max_iter == 20
    assert made("cifar10", "fgsm").eps == 0.025
    deepfool, released = (made("cifar10", "deepfool", arm) for arm in (WHITE_BOX, RELEASED))
    assert (deepfool.max_iter, deepfool.epsilon) == (50, 0.02) and (released.max_iter, released.epsilon) == (100, 1e-6)
    cw = made("mnist", "cw")
    assert (cw.confidence, cw.learning_rate, cw.binary_search_steps) == (0.0, 0.2, 1)
    assert (cw.max_iter, cw.initial_const) == (100, 10.0) and made("cifar10", "cw").learning_rate == 0.5
    assert arms("cw") == (WHITE_BOX, SURROGATE) and arms("deepfool") == (WHITE_BOX, SURROGATE, RELEASED)
    assert agrees("mnist", "cw", 0.688) and not agrees("mnist", "cw", 0.689)


class Steps(nn.Module):
    """Answers 1 where the mean of an image is above a half, else 0."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], 1)


def grey(values: list[float], y: list[int]) -> Dataset:
    x = torch.tensor(values)[:, None, None, None].expand(-1, 1, 8, 8).clone()
    return Dataset(x, torch.tensor(y), ("dark", "bright"), Provenance("grey", "made here"))


def test_attacks_see_the_attacked_networks_own_answers_and_the_classifier_judges() -> None:
    """As the released code hands ART no labels: an image that is wrong already is driven away from that answer."""
    pytest.importorskip("art")
    classifier = Classifier(Steps(), ("dark", "bright"), shape=(1, 8, 8))
    data = grey([0.4, 0.6, 0.45], [0, 1, 1])  # the third is taken for dark
    made = run(engine("fgsm", {"eps": 0.2}, 0), classifier, classifier, data)
    torch.testing.assert_close(made.x[:, 0, 0, 0], torch.tensor([0.6, 0.4, 0.65]))
    assert made.right.tolist() == [False, False, True]
    assert made.changed.tolist() == pytest.approx([0.2 * 8] * 3, rel=1e-5)


def test_deepfool_puts_no_image_back_and_goes_the_share_of_its_way_that_leaves_table_6() -> None:
    pytest.importorskip("art")
    classifier = Classifier(Steps(), ("dark", "bright"), shape=(1, 8, 8))
    data = grey(torch.linspace(0.1, 0.9, 60).tolist(), [0] * 30 + [1] * 30)
    how = settings("mnist", "deepfool", WHITE_BOX)
    made = run(engine("deepfool", how, 0), classifier, classifier, data)
    assert made.accuracy == 0 and bool((made.changed > 0).all())
    short = shorten(made, 0.5, data, classifier)
    assert short.accuracy == 1 and torch.allclose(short.changed, made.changed / 2, atol=1e-5)
    uneven = AttackedImages(made.x.clone(), made.changed, made.right)
    uneven.x[:20] = torch.lerp(data.x[:20], made.x[:20], torch.linspace(1, 3, 20)[:, None, None, None])
    share = fit_share("cifar10", "deepfool", uneven, classifier, data)
    left = shorten(uneven, share, data, classifier).accuracy
    assert 0.3 < share < 1 and abs(left - 0.427) < 0.35, "between none and all"


def test_a_closest_attack_is_held_to_the_length_that_leaves_table_6s_accuracy() -> None:
    clean = torch.zeros(1000, 2)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    changed = (order + 1).double() / 100
    attacked = AttackedImages(clean + 1, changed, torch.zeros(1000, dtype=torch.bool))
    right = torch.ones(1000, dtype=torch.bool)
    right[order < 10] = False  # those with the shortest changes were wrong before
    eps = fit_length("mnist", "cw", attacked, right)
    left, kept = hold_to(attacked, eps, clean, right)
    assert left.accuracy == pytest.approx(0.638)
    assert int(kept.sum()) == 362 and torch.equal(kept, changed <= eps)
    assert torch.equal(left.x, clean + kept[:, None]) and bool((left.changed[~kept] == 0).all())


def test_rates_of_several_steps_are_pooled_by_their_images() -> None:
    def piece(n: int, robust: float) -> dict[str, Any]:
        rates = dict.fromkeys(("clean_accuracy", "rejected_clean", "rejected_adversarial"), 0.5)
        return {"n": n, "seconds": 2.0, "robust_accuracy": robust, **rates}

    record = pooled([piece(20, 0.5), piece(10, 0.2)])
    assert (record["n"], record["seconds"], record["clean_accuracy"]) == (30, 4.0, 0.5)
    assert record["robust_accuracy"] == pytest.approx(0.4)
    assert record["robust_accuracy_low"] < 0.4 < record["robust_accuracy_high"]


def test_what_was_measured_is_stored_and_mixed(tmp_path: Any) -> None:
    values: dict[Measure, Tensor] = {("re", None): torch.rand(4, 2), ("jsd", 15.0): torch.rand(4, 2)}
    attacked = Measured(("a", "b"), values, torch.ones(4, 2, dtype=torch.int64))
    write(tmp_path / "m.safetensors", attacked)
    again = read(tmp_path / "m.safetensors", ("a", "b"))
    assert again.values.keys() == values.keys() and again.members == ("a", "b")
    clean = Measured(("a", "b"), {each: -x for each, x in values.items()}, torch.zeros(4, 2, dtype=torch.int64))
    both = mixed(bools("1010"), again, clean)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    assert all(torch.equal(both.values[each], signs * x) for each, x in values.items())
    assert both.labels is not None and both.labels[:, 0].tolist() == [1, 0, 1, 0]
