"""A training that learnt nothing is said to be one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.training.trivial import learnt_nothing


class Answers(nn.Module):
    """Reads its answer in the first value of a sample."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(x[:, 0].round().long(), 3).float()


def told(answers: Tensor, y: Tensor) -> str | None:
    x = torch.stack([answers.float(), torch.zeros(len(y))], 1)
    data = Dataset(x, y, ("N", "S", "V"), Provenance("own", "made here"), bounds=(0, 2))
    return learnt_nothing(Classifier(Answers(), data.classes, shape=(2,), bounds=(0, 2)), data)


def test_one_answer_for_all_is_set_beside_itself() -> None:
    y = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    line = told(torch.zeros(100), y)
    assert line is not None
    assert line.startswith(
        "The training learnt nothing that shows: 70.0% of 100 validation samples right, macro recall"
    )
    assert "always answering 'N' gets 70.0% right, macro recall 33.3%" in line


def test_another_constant_and_mere_guesses_are_no_better() -> None:
    y = torch.arange(300) % 3
    assert "learnt nothing" in (told(torch.full((300,), 2), y) or "")
    guesses = torch.randint(3, (300,), generator=torch.Generator().manual_seed(0))
    assert "learnt nothing" in (told(guesses, y) or "")


def test_who_tells_classes_apart_but_is_right_less_often_than_a_constant_is_said_to_be_so() -> None:
    y = torch.tensor([0] * 90 + [1] * 5 + [2] * 5)
    answers = y.clone()
    answers[:30] = 1
    line = told(answers, y)
    assert line is not None and "no more often than a constant answer: 70.0%" in line and "gets 90.0% right" in line


def test_who_learnt_is_not_spoken_of() -> None:
    y = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    answers = y.clone()
    answers[:5], answers[70:75] = 1, 0
    assert told(answers, y) is None


def test_a_validation_part_of_one_class_tells_nothing() -> None:
    assert told(torch.zeros(20), torch.zeros(20, dtype=torch.int64)) is None
