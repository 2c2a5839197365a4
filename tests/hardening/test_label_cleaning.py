"""Wrong labels: found by classifiers that never saw the sample, dropped or mended, and judged where known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from salus.attacks.poisoning import Availability, Backdoor, LabelFlips
from salus.data import Dataset, Provenance
from salus.errors import DataError, OptionError
from salus.hardening import folds
from salus.hardening.folds import OutOfFold, deal_folds, out_of_fold
from salus.hardening.label_cleaning import CLEANINGS, ConfidentLearning, HighLoss, LabelFinds, without
from salus.hardening.label_judgement import judge
from salus.metrics import wilson
from salus.training import TrainingOptions, fit_classifier
from salus.training.checkpoint import Checkpoint

SHORT = TrainingOptions(epochs=15, batch_size=32, learning_rate=0.01)


def clouds(n: int, seed: int = 0, **fields: Any) -> Dataset:
    """Three classes that a small network tells apart without mistakes."""
    y = torch.arange(n) % 3
    centres = torch.tensor([[0.25] * 6, [0.75] * 3 + [0.25] * 3, [0.25] * 3 + [0.75] * 3])
    noise = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    x = (centres[y] + 0.07 * noise).clamp(0, 1)
    return Dataset(x, y, ("a", "b", "c"), Provenance("clouds", "made here"), **fields)


def found(y: Tensor, *rows: int) -> LabelFinds:
    flags = torch.zeros(len(y), dtype=torch.bool)
    flags[list(rows)] = True
    return LabelFinds(flags, y, torch.ones(len(y), dtype=torch.float64), "by hand")


@pytest.fixture(scope="module")
def poisoned() -> Dataset:
    """45 of 300 samples are called something else."""
    return LabelFlips(share=0.15)(clouds(300))


@pytest.fixture(scope="module")
def answers(poisoned: Dataset) -> OutOfFold:
    return out_of_fold("mlp", poisoned, clouds(60, 1), SHORT, folds=3)


# Dealing


def test_every_fold_has_every_class_in_its_share() -> None:
    data = clouds(300)
    fold = deal_folds(data, 5)
    assert torch.bincount(fold).tolist() == [60] * 5
    for number in range(5):
        assert torch.bincount(data.y[fold == number]).tolist() == [20] * 3


def test_a_patient_is_never_in_two_folds() -> None:
    groups = torch.arange(300) // 4
    fold = deal_folds(clouds(300, groups=groups), 4)
    for patient in groups.unique():
        assert len(fold[groups == patient].unique()) == 1
    assert torch.bincount(fold).min() > 60, "and the folds are still about as large"


def test_made_samples_are_no_single_patient() -> None:
    groups = torch.cat([torch.arange(150) // 3, torch.full((150,), -1)])
    fold = deal_folds(clouds(300, groups=groups), 3)
    assert torch.bincount(fold[150:]).min() > 30
    assert groups[-1] == -1


def test_the_seed_decides_the_folds() -> None:
    data = clouds(300)
    assert torch.equal(deal_folds(data, 5, 1), deal_folds(data, 5, 1))
    assert not torch.equal(deal_folds(data, 5, 1), deal_folds(data, 5, 2))


def test_too_few_samples_or_patients_are_one_sentence() -> None:
    with pytest.raises(DataError, match=r"as many as 5 samples \(the most, 4, are of 'a'\)"):
        deal_folds(clouds(12), 5)
    with pytest.raises(DataError, match="2 patients cannot be dealt to 3 folds"):
        deal_folds(clouds(300, groups=torch.arange(300) // 150), 3)
    alone = clouds(30).subset(torch.arange(0, 30, 3))
    with pytest.raises(DataError, match="all 10 samples are of class 'a'"):
        HighLoss(share=0.1).check(alone)


def test_global_random_state_stays_as_it_is() -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state(legacy=False)["state"]["key"].copy(), torch.get_rng_state()
    HighLoss(share=0.1, folds=2).find(clouds(60), clouds(30, 1), "mlp", replace(SHORT, epochs=1))
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


# Answers out of fold


def test_nobody_judges_a_sample_or_a_patient_that_they_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    data, learnt = clouds(120, groups=torch.arange(120) // 4), []

    def watched(name: str, train: Dataset, *rest: Any, **options: Any) -> Any:
        learnt.append(train)
        return fit_classifier(name, train, *rest, **options)

    monkeypatch.setattr(folds, "fit_classifier", watched)
    made = out_of_fold("mlp", data, clouds(30, 1), replace(SHORT, epochs=1), folds=3)
    assert len(learnt) == 3
    for number, train in enumerate(learnt):
        judged = data.subset((made.fold == number).nonzero()[:, 0])
        assert len(train) + len(judged) == 120
        assert train.groups is not None and judged.groups is not None
        assert not set(train.groups.tolist()) & set(judged.groups.tolist())
        assert not bool((train.x[:, None] == judged.x[None]).all(-1).any())


def test_they_are_probabilities_and_right_where_the_classes_are_apart(poisoned: Dataset, answers: OutOfFold) -> None:
    assert answers.probabilities.shape == (300, 3) and answers.probabilities.dtype == torch.float64
    assert torch.allclose(answers.probabilities.sum(1), torch.ones(300, dtype=torch.float64))
    assert bool(answers.seen.all())
    assert float((answers.probabilities.argmax(1) == clouds(300).y).double().mean()) > 0.97


@pytest.mark.parametrize("after", [2, 7, 9])
def test_a_stopped_run_goes_on_to_the_same_answers_and_trains_no_finished_fold_again(
    poisoned: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    options, validation = replace(SHORT, epochs=4), clouds(30, 1)
    whole = out_of_fold("mlp", poisoned, validation, options, folds=3)
    real, saves = Checkpoint.save, []

    def stop(self: Checkpoint, *parts: Any) -> None:
        real(self, *parts)
        saves.append(self.path.name)
        if len(saves) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    for _ in range(2):
        try:
            made = out_of_fold("mlp", poisoned, validation, options, folds=3, folder=tmp_path)
        except KeyboardInterrupt:
            continue
    assert torch.equal(made.probabilities, whole.probabilities)
    assert len(saves) == 3 * (4 + 1), "each epoch of each fold once, and each fold's answers"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"fold-{number}.answers" for number in range(3)]


def test_stored_answers_to_other_labels_are_not_used(poisoned: Dataset, tmp_path: Path) -> None:
    options = replace(SHORT, epochs=1)
    said: list[str] = []
    out_of_fold("mlp", poisoned, clouds(30, 1), options, folds=2, folder=tmp_path)
    other = out_of_fold("mlp", clouds(300), clouds(30, 1), options, folds=2, folder=tmp_path, log=said.append)
    assert any("belongs to another training" in line for line in said)
    assert torch.equal(
        other.probabilities, out_of_fold("mlp", clouds(300), clouds(30, 1), options, folds=2).probabilities
    )


def test_a_class_of_one_patient_is_not_judged() -> None:
    data = clouds(120)
    groups = torch.where(data.y == 2, 99, torch.arange(120) // 6)
    finds = HighLoss(share=0.3, folds=3).find(replace(data, groups=groups), clouds(30, 1), "mlp", SHORT)
    assert torch.equal(finds.quality.isnan(), data.y == 2)
    assert not bool(finds.flags[data.y == 2].any())
    assert int(finds.flags.sum()) == 2 * 12


# Flags


@pytest.mark.parametrize(
    "filter_by", ["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "low_self_confidence"]
)
def test_confident_learning_finds_what_was_flipped_and_little_else(
    poisoned: Dataset, answers: OutOfFold, filter_by: Any
) -> None:
    pytest.importorskip("cleanlab")
    finds = ConfidentLearning(filter_by=filter_by).finds(poisoned.y, answers)
    known = judge(finds, poisoned)
    assert known is not None and known.flipped == 45
    assert (known.recall.value or 0) >= 0.95 and (known.precision.value or 0) >= 0.95
    assert torch.equal(finds.suggested[finds.flags], clouds(300).y[finds.flags])


def test_flips_of_one_class_into_another_are_found_less_often_but_nothing_else_is() -> None:
    pytest.importorskip("cleanlab")
    data = LabelFlips(share=0.2, source="a", target="b")(clouds(300))
    known = judge(ConfidentLearning(folds=3).find(data, clouds(60, 1), "mlp", SHORT), data)
    assert known is not None and known.flipped == 20
    assert (known.recall.value or 0) >= 0.5 and known.precision.value == 1


def test_clean_labels_are_left_alone() -> None:
    pytest.importorskip("cleanlab")
    finds = ConfidentLearning(folds=3).find(clouds(300), clouds(60, 1), "mlp", SHORT)
    assert int(finds.flags.sum()) <= 3
    assert float(finds.quality.mean()) > 0.9


def test_confident_learning_is_that_of_the_paper() -> None:
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 200)
    y = np.array([rng.choice(3, p=row) for row in p])
    threshold = np.array([p[y == label, label].mean() for label in range(3)])  # Eq. 2
    confident = np.where(p >= threshold, p, -1)  # Eq. 1: of the classes above theirs, the most probable
    expected = (confident.max(1) >= 0) & (confident.argmax(1) != y)
    flags = ConfidentLearning(filter_by="confident_learning").flag(torch.from_numpy(y), torch.from_numpy(p))
    assert expected.sum() > 20 and np.array_equal(flags.numpy(), expected)


def test_the_highest_losses_of_each_class_are_flagged() -> None:
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    right = torch.tensor([0.9, 0.1, 0.8, 0.2, 0.05, 0.06, 0.04, 0.5, 0.03, 0.01], dtype=torch.float64)
    p = (1 - right)[:, None].repeat(1, 3) / 2
    p[torch.arange(10), y] = right
    assert HighLoss(share=0.5).flag(y, p).nonzero()[:, 0].tolist() == [1, 3, 6, 8]
    assert HighLoss(share=0.25).flag(y, p).nonzero()[:, 0].tolist() == [1, 8]
    assert HighLoss(share=0.99).flag(y, p).nonzero()[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 8], "one of each is left"


def test_high_loss_finds_what_was_flipped(poisoned: Dataset, answers: OutOfFold) -> None:
    known = judge(HighLoss(share=0.2).finds(poisoned.y, answers), poisoned)
    assert known is not None and (known.recall.value or 0) >= 0.95
    assert known.precision.value == pytest.approx(0.75, abs=0.03), "of a fifth of all 300, 45 are wrong"


def test_without_cleanlab_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    monkeypatch.setattr(folds, "fit_classifier", lambda *_, **__: pytest.fail("it trains first"))
    with pytest.raises(OptionError, match=r"pip install 'salus\[cleaning\]'"):
        ConfidentLearning().find(clouds(60), clouds(30, 1), "mlp")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("confident", "'confident'; did you mean 'confident-learning'"),
        ("confident-learning:fold=3", "no option 'fold'; did you mean 'folds'"),
        ("confident-learning:folds=1", "folds must be a whole number from 2 up, not 1"),
        ("confident-learning:filter_by=margin", "filter_by must be 'prune_by_noise_rate', .* not 'margin'"),
        ("confident-learning:action=hide", "action must be 'drop' or 'relabel', not 'hide'"),
        ("high-loss", "needs share"),
        ("high-loss:share=1", "share must be a number between 0 and 1, not 1"),
        ("high-loss:share=nan", "share must be a number between 0 and 1, not 'nan'"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: str, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        CLEANINGS.parse(spec)


def test_options_are_read() -> None:
    read = CLEANINGS.parse("high-loss:share=1/10,folds=3,action=relabel", seed=4)
    assert read == HighLoss(share=0.1, folds=3, action="relabel", seed=4)
    assert read.settings() == {"folds": 3, "action": "relabel", "seed": 4, "share": 0.1}


# What becomes of them


def test_dropping_keeps_the_rest_and_says_so() -> None:
    data = LabelFlips(share=0.5, source="a", target="b")(clouds(12, groups=torch.arange(12) // 2))
    (flips,) = data.provenance.changes
    gone = flips.indices[0]
    made = without(data, found(data.y, gone, 11))
    kept = [row for row in range(12) if row not in (gone, 11)]
    assert torch.equal(made.x, data.x[kept]) and torch.equal(made.y, data.y[kept])
    assert made.groups is not None and data.groups is not None
    assert torch.equal(made.groups, data.groups[kept])
    (drop,) = made.provenance.dropped
    assert (drop.count, drop.reason) == (2, "their labels look wrong to by hand")
    (left,) = made.provenance.changes
    assert [kept[row] for row in left.indices] == list(flips.indices[1:]), "told at their new places"
    assert left.labels == flips.labels[1:]
    assert len(data) == 12 and data.provenance.dropped == ()


def test_relabelling_restores_what_was_flipped(poisoned: Dataset) -> None:
    whole = clouds(300)
    rows = poisoned.provenance.changes[0].indices
    finds = replace(found(poisoned.y, *rows, 299), suggested=whole.y)
    made = without(poisoned, finds, "relabel")
    assert torch.equal(made.y, whole.y) and torch.equal(made.x, poisoned.x)
    change = made.provenance.changes[-1]
    assert change.name == "relabel" and change.indices == rows
    assert change.labels == tuple(poisoned.y[list(rows)].tolist())
    assert judge(finds, made) is None, "nothing is flipped any more"


def test_no_finds_leave_the_data_as_they_are() -> None:
    data = clouds(12)
    assert without(data, found(data.y)) is data
    assert without(data, found(data.y), "relabel") is data
    with pytest.raises(DataError, match="no sample is left"):
        without(data, found(data.y, *range(12)))
    with pytest.raises(DataError, match="12 samples, but finds for 30"):
        without(data, found(clouds(30).y, 3))


# Judgement


def test_recall_and_precision_are_those_by_hand() -> None:
    data = clouds(30)
    flips = LabelFlips(share=0.4, source="a", target="b")(data)  # 4 of the 10
    rows = flips.provenance.changes[0].indices
    known = judge(found(flips.y, *rows[:3], 1, 2, 4), flips)
    assert known is not None and known.flipped == 4
    assert (known.recall.value, known.recall.n) == (0.75, 4)
    assert (known.precision.value, known.precision.n) == (0.5, 6)
    assert (known.recall.low, known.recall.high) == wilson(3, 4)
    assert (known.precision.low, known.precision.high) == wilson(3, 6)
    nothing = judge(found(flips.y), flips)
    assert nothing is not None and nothing.recall.value == 0 and nothing.precision.value is None


def test_only_labels_that_are_wrong_count_as_flipped() -> None:
    data = clouds(30)
    assert judge(found(data.y, 3), data) is None, "nobody poisoned these"
    there = LabelFlips(share=1.0, source="a", target="b")(data)
    back = LabelFlips(share=1.0, source="b", target="a")(there)
    known = judge(found(back.y, 1), back)
    assert known is not None and known.flipped == 10, "class a is what it was, class b is not"
    assert known.recall.value == 0.1
    added = Availability(share=0.2, attacked="a", label="b")(data)
    assert judge(found(added.y, 3), added) is None, "a made-up sample had no label before"
    stamped = judge(found(data.y, 3), Backdoor(share=0.3, target="c")(data))
    assert stamped is not None and stamped.flipped == 6
