"""MultiMagNet's calibration stage against a slow, straightforward one."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.detectors import MultiMagNet
from salus.detectors.multimagnet_calibration import (
    Measured,
    blends,
    choose_by_accuracy,
    choose_on_clean,
    measure,
    score,
)
from salus.detectors.multimagnet_grid import Calibration, Combination, DetectionShares, Grid, literal_eq9
from salus.errors import BundleError, CalibrationError, OptionError
from salus.generative import Member, Repository
from salus.models.autoencoders import TABLES

if TYPE_CHECKING:
    from conftest import Toy

GRID = Grid(sizes=(1, 3, 5), temperatures=(1.0, 10.0), drop_rates=(0.02, 0.1))


class Through(nn.Module):
    """Keeps what lies in a few directions, as an autoencoder does."""

    def __init__(self, x: Tensor, directions: int, seed: int) -> None:
        super().__init__()
        some = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:100]]
        self.mean = nn.Parameter(some.mean(0))
        self.kept = nn.Parameter(torch.linalg.svd(some - some.mean(0), full_matrices=False).Vh[:directions])

    def forward(self, x: Tensor) -> Tensor:
        return (self.mean + (x - self.mean) @ self.kept.T @ self.kept).clamp(0, 1)


class Counted(Repository):
    """Counts the inputs that each member is asked for."""

    inputs: list[int]

    def reconstruct(self, member: int, x: Tensor) -> Tensor:
        self.inputs[member] += len(x)
        return super().reconstruct(member, x)


@pytest.fixture(scope="module")
def repository(toy: Toy) -> Counted:
    members = [Member(TABLES[i], Through(toy.train.x, 1 + i % 3, i), 0.0) for i in range(6)]
    counted = Counted(members, shape=(8,))
    counted.inputs = [0] * 6
    return counted


@pytest.fixture(scope="module")
def attacked(toy: Toy) -> Tensor:
    """Validation inputs shifted at random: enough for counting."""
    rng = torch.Generator().manual_seed(1)
    return (toy.calibration.x[:200] + 0.1 * torch.randn(200, 8, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module")
def clean(toy: Toy) -> Tensor:
    return toy.calibration.x[:250]


@pytest.fixture(scope="module")
def measured(toy: Toy, repository: Repository, clean: Tensor, attacked: Tensor) -> tuple[Measured, Measured]:
    one, other = (measure(toy.classifier, repository, x, GRID.measures, batch_size=64) for x in (clean, attacked))
    return one, other


def slowly(toy: Toy, repository: Repository, clean: Tensor, attacked: Tensor, c: Combination) -> DetectionShares:
    """Follow Section 4.1 step by step, ensemble by ensemble."""

    def metric(x: Tensor, i: int) -> Tensor:
        made = repository.reconstruct(i, x)
        if c.metric == "re":
            return (x - made).abs().sum(1)
        p, q = ((toy.classifier(part).detach().double() / (c.temperature or 1)).softmax(1) for part in (x, made))
        m = (p + q) / 2
        divergence: Tensor = ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1)) / 2
        return divergence

    on_clean, on_attacked = ([metric(x, i) for i in range(len(repository))] for x in (clean, attacked))
    thresholds = [float(sorted(values.tolist(), reverse=True)[int(c.drop_rate * len(clean))]) for values in on_clean]
    rejected = [0.0, 0.0]
    ensembles = list(combinations(range(len(repository)), c.n))
    for ensemble in ensembles:
        lowest = min(thresholds[i] for i in ensemble)
        for side, values in enumerate((on_clean, on_attacked)):
            each = [values[i] > (lowest if c.approach == "minTA" else thresholds[i]) for i in ensemble]
            rejected[side] += int((torch.stack(each).sum(0) > c.n // 2).sum()) / len(ensembles)
    return DetectionShares(
        accepted_clean=len(clean) - rejected[0],
        rejected_clean=rejected[0],
        accepted_adversarial=len(attacked) - rejected[1],
        rejected_adversarial=rejected[1],
    )


def test_the_grid_is_what_a_slow_count_of_all_ensembles_gives(
    toy: Toy, repository: Repository, clean: Tensor, attacked: Tensor, measured: tuple[Measured, Measured]
) -> None:
    rows = score(*measured, GRID)
    assert len(rows) == 3 * 2 * 5  # measures, drop rates, MTA at three sizes and minTA at two
    for row in rows:
        expected = slowly(toy, repository, clean, attacked, row.combination)
        assert asdict(row.outcome) == pytest.approx(asdict(expected), abs=0.35)  # one vote at the edge, of ten
    assert len({row.outcome for row in rows}) > 20


def test_each_member_sees_each_input_once_for_the_whole_grid(
    toy: Toy, repository: Counted, clean: Tensor, attacked: Tensor
) -> None:
    repository.inputs = [0] * 6
    grid = Grid(sizes=(1, 3, 5), drop_rates=(0.01, 0.05, 0.1))
    one, other = (measure(toy.classifier, repository, x, grid.measures) for x in (clean, attacked))
    score(one, other, grid)
    assert repository.inputs == [450] * 6


def test_what_is_measured_does_not_depend_on_the_batches(
    toy: Toy, repository: Repository, clean: Tensor, measured: tuple[Measured, Measured]
) -> None:
    again = measure(toy.classifier, repository, clean, GRID.measures, batch_size=1000)
    for key, values in measured[0].values.items():
        assert values.shape == (250, 6)
        torch.testing.assert_close(again.values[key], values, rtol=1e-4, atol=1e-7)


def test_the_papers_choice_has_the_highest_accuracy(measured: tuple[Measured, Measured]) -> None:
    chosen = choose_by_accuracy(*measured, GRID, attack="noise")
    rows = score(*measured, GRID)
    assert chosen.grid == tuple(rows)
    assert chosen.best in rows
    assert chosen.best.outcome.accuracy == pytest.approx(max(row.outcome.accuracy for row in rows))
    assert set(chosen.thresholds) == set(measured[0].members)


def test_the_choice_on_clean_data_keeps_the_rate_and_looks_at_no_attack(
    toy: Toy, repository: Repository, clean: Tensor, measured: tuple[Measured, Measured]
) -> None:
    labels = toy.classifier.predict(clean).argmax(1)
    blended = measure(toy.classifier, repository, blends(clean, labels), GRID.measures)
    chosen = choose_on_clean(measured[0], blended, GRID, false_alarm_rate=0.06)
    assert 1 - chosen.best.outcome.ppv <= 0.06
    kept = [row for row in chosen.grid if 1 - row.outcome.ppv <= 0.06]
    assert 0 < len(kept) < len(chosen.grid)
    assert chosen.best.outcome.npv == pytest.approx(max(row.outcome.npv for row in kept))
    # It is a detector of attacks all the same: better than chance on inputs that it was not chosen for.
    found = next(row for row in score(*measured, GRID) if row.combination == chosen.best.combination)
    assert found.outcome.npv > 2 * (1 - found.outcome.ppv)
    with pytest.raises(CalibrationError, match="keeps false alarms at 1e-05; the fewest are"):
        choose_on_clean(measured[0], blended, GRID, false_alarm_rate=1e-5)


def test_blends_mix_inputs_of_different_classes_and_leave_random_state_alone() -> None:
    labels = torch.arange(400) % 4
    x = nn.functional.one_hot(labels, 4).float().reshape(400, 1, 2, 2)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    mixed = blends(x, labels, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(mixed, blends(x, labels, seed=3)) and not torch.equal(mixed, blends(x, labels, seed=4))
    top = mixed.flatten(1).sort(1, descending=True)
    torch.testing.assert_close(top.values[:, :2].sum(1), torch.ones(400))
    weight, partner = top.values[:, 1], top.indices[:, 1]
    assert torch.equal(top.indices[:, 0], labels)
    assert float(weight.max()) <= 0.5 and float(weight.mean()) == pytest.approx(0.25, abs=0.03)
    assert bool((partner != labels).all())
    assert int(torch.bincount(partner * 4 + labels, minlength=16).reshape(4, 4).fill_diagonal_(99).min()) > 15
    with pytest.raises(CalibrationError, match="two classes"):
        blends(x, torch.zeros(400, dtype=torch.int64))


def test_the_tables_reading_and_the_letter_of_eq_9_swap_ppv_and_npv() -> None:
    # About MultiMagNet's row under CW in Table 2: PPV 46%, NPV 75%, of 2,000 and 2,000 images.
    outcome = DetectionShares(
        accepted_clean=920, rejected_clean=1080, accepted_adversarial=495, rejected_adversarial=1505
    )  # fmt: skip
    assert (outcome.accuracy, outcome.ppv, outcome.npv) == pytest.approx((0.6063, 0.46, 0.7525), abs=1e-3)
    assert literal_eq9(outcome) == (outcome.accuracy, outcome.npv, outcome.ppv)


@pytest.fixture
def calibration(measured: tuple[Measured, Measured]) -> Calibration:
    return choose_by_accuracy(*measured, GRID, attack="noise")


def test_the_file_is_readable_and_gives_back_what_was_found(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "best.json")
    assert Calibration.load(tmp_path / "best.json") == calibration
    content = json.loads((tmp_path / "best.json").read_text())
    assert content["adversarial"] == "noise" and "accuracy" in content["rule"]
    assert len(content["grid"]) == 30
    assert {"n", "metric", "temperature", "drop_rate", "approach", "accuracy", "ppv", "npv"} < set(content["best"])


@pytest.mark.parametrize("choice", [0, 17, 29])
def test_a_detector_takes_it_over(
    toy: Toy,
    repository: Repository,
    clean: Tensor,
    attacked: Tensor,
    calibration: Calibration,
    tmp_path: Path,
    choice: int,
) -> None:
    scored = calibration.grid[choice]
    c = scored.combination
    own = MultiMagNet(
        n=c.n, metric=c.metric, temperature=c.temperature or 1, approach=c.approach, drop_rate=c.drop_rate,
        threshold="drop-rate", repository=repository,
    ).fit(toy.classifier, clean, torch.zeros(250, dtype=torch.int64))  # fmt: skip
    thresholds = dict(zip(repository.names, own.tensors()["thresholds"].tolist(), strict=True))
    replace(calibration, best=scored, thresholds=thresholds).save(tmp_path / "best.json")
    detector = MultiMagNet(calibration=str(tmp_path / "best.json"), repository=repository)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    assert detector.own_rule and detector.combination == c
    assert detector.false_alarm_rate_ == pytest.approx(1 - scored.outcome.ppv)
    for x, accepted in ((clean, scored.outcome.accepted_clean), (attacked, scored.outcome.accepted_adversarial)):
        with torch.no_grad():
            got = detector.acceptance_probability(toy.classifier.states(x, ()))
        assert float(got.sum()) == pytest.approx(accepted, abs=0.35)


def test_options_that_contradict_the_calibration_are_refused(calibration: Calibration) -> None:
    other = {1: 3, 3: 5, 5: 1}[calibration.best.combination.n]
    with pytest.raises(OptionError, match="leave out n, metric"):
        MultiMagNet(calibration=calibration, n=other, drop_rate=0.3)


def test_the_calibration_of_other_autoencoders_is_refused(
    toy: Toy, repository: Repository, calibration: Calibration
) -> None:
    fewer = Repository(repository.members[:5], shape=(8,))
    with pytest.raises(CalibrationError, match="calibrate these"):
        MultiMagNet(calibration=calibration, repository=fewer).fit(toy.classifier, toy.train.x, toy.train.y)
    twins = Repository([replace(one, module=copy.deepcopy(one.module)) for one in repository.members], shape=(8,))
    MultiMagNet(calibration=calibration, repository=twins).fit(toy.classifier, toy.train.x, toy.train.y)
    with torch.no_grad():
        next(twins.members[3].module.parameters()).add_(0.01)
    with pytest.raises(CalibrationError, match="of other weights"):
        MultiMagNet(calibration=calibration, repository=twins).fit(toy.classifier, toy.train.x, toy.train.y)


@pytest.mark.parametrize("harm", ["missing", "truncated", "other", "threshold", "option", "grid", "list"])
def test_a_harmed_file_gives_one_sentence(calibration: Calibration, tmp_path: Path, harm: str) -> None:
    path = tmp_path / "best.json"
    calibration.save(path)
    content = json.loads(path.read_text())
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_text(path.read_text()[:300])
    elif harm == "other":
        path.write_text("{}")
    else:
        if harm == "threshold":
            content["thresholds"]["relu"] = "much"
        elif harm == "option":
            content["best"]["n"] = 4
        elif harm == "grid":
            del content["grid"][0]["accepted_clean"]
        else:
            content["thresholds"] = [1, 2]
        path.write_text(json.dumps(content))
    with pytest.raises(BundleError) as caught:
        MultiMagNet(calibration=path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"sizes": (3, 4)}, "odd"),
        ({"sizes": ()}, "no sizes"),
        ({"temperatures": (0.5,)}, "temperature"),
        ({"drop_rates": (0.0,)}, "drop_rate"),
        ({"metrics": ("mse",)}, "'re' or 'jsd'"),
        ({"approaches": ("RE",)}, "'MTA' or 'minTA'"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        Grid(**options)


def test_more_members_than_there_are_and_no_inputs_are_refused(
    toy: Toy, repository: Repository, measured: tuple[Measured, Measured]
) -> None:
    with pytest.raises(CalibrationError, match="n = 9 of 6"):
        score(*measured, replace(GRID, sizes=(3, 9)))
    with pytest.raises(CalibrationError, match="needs inputs"):
        measure(toy.classifier, repository, torch.zeros(0, 8), GRID.measures)
