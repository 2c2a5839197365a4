"""Adversarial retraining in rounds: it hardens a copy, resumes exactly, and attacks what each round found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from salus.attacks import FGSM, PGD, UAP, Attack
from salus.attacks.search import Search
from salus.classifier import Classifier
from salus.data import Dataset, Provenance, Splits
from salus.errors import OptionError
from salus.hardening import Rounds, build_method, retrain
from salus.training import Recipe, TrainingOptions, fit_classifier

EPS = 0.12


def tempting(n: int, seed: int = 0) -> Dataset:
    """One value that tells nine of ten, and twenty that tell more together, but by less than eps each."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    sign = 2.0 * y[:, None] - 1
    wrong = (torch.rand(n, 1, generator=rng) < 0.1).float()
    robust = 0.5 + 0.3 * sign * (1 - 2 * wrong)
    weak = 0.5 + 0.06 * sign + 0.06 * torch.randn(n, 20, generator=rng)
    return Dataset(torch.cat([robust, weak], 1).clamp(0, 1), y, ("a", "b"), Provenance("tempting", "made here"))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(tempting(320), tempting(160, 1), tempting(40, 3), tempting(200, 2))


@pytest.fixture(scope="module")
def plain(splits: Splits) -> Classifier:
    options = TrainingOptions(epochs=30, patience=30, batch_size=32, learning_rate=3e-2)
    return fit_classifier("mlp", splits.train, splits.validation, options, model_options={"hidden": [16]})[0]


ROUNDS = Rounds(rounds=3, epochs=4, learning_rate=2e-2)


def robust(classifier: Classifier, test: Dataset) -> float:
    x_adv = PGD(eps=EPS, steps=20)(classifier, test.x, test.y)
    return float((classifier.predict(x_adv).argmax(1) == test.y).double().mean())


def test_the_retrained_classifier_keeps_more_right_answers_and_the_given_one_stays(
    plain: Classifier, splits: Splits, tmp_path: Path
) -> None:
    before = plain.fingerprint()
    made, told = retrain(plain, splits, PGD(eps=EPS, steps=5, early_stop=False), ROUNDS, folder=tmp_path)
    assert plain.fingerprint() == before != made.fingerprint()
    assert robust(plain, splits.test) + 0.2 < robust(made, splits.test)
    assert [one["round"] for one in told] == [1, 2, 3]
    assert all(one["copies"] == 160 for one in told)
    assert told[0]["fooled"] > told[-1]["fooled"], "later rounds attack what earlier ones made"
    assert not list(tmp_path.rglob("*.floats")), "copies are of no use once a round is over"


def test_without_an_attack_it_goes_on_as_long_on_clean_copies(
    plain: Classifier, splits: Splits, tmp_path: Path
) -> None:
    control, told = retrain(plain, splits, None, ROUNDS, folder=tmp_path / "clean")
    attacked, beside = retrain(plain, splits, FGSM(eps=EPS), ROUNDS, folder=tmp_path / "fgsm")
    assert [each["copies"] for each in told] == [each["copies"] for each in beside] == [160] * 3
    assert all(each["fooled"] < 0.2 for each in told), "copies are the samples as they are"
    assert robust(control, splits.test) + 0.1 < robust(attacked, splits.test)


def test_a_recipe_changes_what_is_learnt_and_is_part_of_what_is_stored(
    plain: Classifier, splits: Splits, tmp_path: Path
) -> None:
    class Blind(Recipe):
        def step_loss(self, model: Any, x: Tensor, y: Tensor, loss_of: Any, progress: float, step: int) -> Tensor:
            loss: Tensor = loss_of(model(torch.full_like(x, 0.5)), y)
            return loss

        def describe(self) -> str:
            return "blind"

    one = Rounds(rounds=1, epochs=2, learning_rate=2e-2)
    seeing, _ = retrain(plain, splits, None, one, folder=tmp_path)
    blind, _ = retrain(plain, splits, None, one, folder=tmp_path, recipe=Blind())
    assert blind.fingerprint() != seeing.fingerprint(), "what another recipe left in the folder is not used"


def test_killed_at_any_moment_it_ends_with_the_same_weights(
    plain: Classifier, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = FGSM(eps=EPS)
    whole, told = retrain(plain, splits, attack, ROUNDS, folder=tmp_path / "whole")

    class Killed(BaseException):
        pass

    seen = 0

    def die(line: str) -> None:
        nonlocal seen
        seen += 1
        if seen in (3, 8):  # amid the first round and amid the second
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            retrain(plain, splits, attack, ROUNDS, folder=tmp_path / "parts", log=die)
    resumed, again = retrain(plain, splits, attack, ROUNDS, folder=tmp_path / "parts", log=die)
    assert resumed.fingerprint() == whole.fingerprint()
    assert [one["fooled"] for one in again] == [one["fooled"] for one in told]


def test_what_another_retraining_left_in_the_folder_is_not_used(
    plain: Classifier, splits: Splits, tmp_path: Path
) -> None:
    first = retrain(plain, splits, FGSM(eps=EPS), ROUNDS, folder=tmp_path)[0]
    other = retrain(plain, splits, FGSM(eps=EPS / 2), ROUNDS, folder=tmp_path)[0]
    alone = retrain(plain, splits, FGSM(eps=EPS / 2), ROUNDS, folder=tmp_path / "alone")[0]
    assert first.fingerprint() != other.fingerprint() == alone.fingerprint()


@dataclass(frozen=True, kw_only=True)
class Watched(Attack):
    """Leaves samples as they are and counts them."""

    name: ClassVar[str] = "watched"
    paper: ClassVar[str] = "made here"
    calls: ClassVar[list[Tensor]] = []

    eps: float | None = EPS

    def perturb(self, search: Search, start: Tensor | None) -> None:
        Watched.calls.append(search.ball.x.clone())
        search.settle(search.ball.x)


def test_each_round_draws_its_share_of_both_parts_anew(plain: Classifier, splits: Splits, tmp_path: Path) -> None:
    Watched.calls.clear()
    retrain(plain, splits, Watched(), replace(ROUNDS, rounds=2, share=0.25), folder=tmp_path)
    seen = torch.cat(Watched.calls)
    assert len(seen) == 2 * (80 + 40)
    first, second = seen[:80], seen[120:200]
    assert all((splits.train.x == row).all(1).any() for row in first)
    assert all((splits.validation.x == row).all(1).any() for row in seen[80:120])
    assert not torch.equal(first, second)


def test_a_universal_perturbation_is_one_change_for_both_parts(
    plain: Classifier, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    fit = UAP.fit

    def watched(self: UAP, model: Any, x: Tensor, y: Tensor, **more: Any) -> Any:
        fitted.append(len(x))
        return fit(self, model, x, y, **more)

    monkeypatch.setattr(UAP, "fit", watched)
    made, told = retrain(plain, splits, UAP(eps=EPS), replace(ROUNDS, rounds=2), folder=tmp_path)
    assert fitted == [160, 160], "to the drawn training samples, once a round"
    assert told[0]["fooled"] > 0.2 and made.fingerprint() != plain.fingerprint()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"rounds": 0}, "Adversarial retraining: rounds must be a whole number from 1 up, not 0"),
        ({"share": 0.0}, "Adversarial retraining: share must be a number above 0 and up to 1, not 0.0"),
        ({"epochs": 0}, "Adversarial retraining: epochs must be a whole number from 1 up, not 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(option: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Rounds(**option)


def test_the_command_line_reads_its_options() -> None:
    method = build_method("adversarial-retraining", {"rounds": 2, "share": 0.3}, seed=7)
    assert method.settings()["rounds"] == 2 and method.settings()["seed"] == 7
    with pytest.raises(OptionError, match="no option 'shares'"):
        build_method("adversarial-retraining", {"shares": 0.3})
