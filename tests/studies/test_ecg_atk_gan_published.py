"""The printed tables of ECG-ATK-GAN agree with themselves where they do, and remarks say where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import pytest

from salus.attacks.registry import ATTACKS as SALUS_ATTACKS
from salus.metrics import paper_accuracy
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    ATTACKS,
    CLASSES,
    CLASSIFICATION,
    COUNTS_AS_THE_TABLES_HAVE_THEM,
    COUNTS_AS_THE_TEXT_HAS_THEM,
    DATABASE_COUNTS,
    FOUR,
    GENERATOR,
    PAPERS,
    PTB,
    SIX,
    TRAINING,
    ClassesRow,
    PaperName,
    classification,
    generator,
)
from salus_studies.ecg_atk_gan.remarks import REMARKS

ROUNDING = 0.1 + 1e-9  # of printed figures with one decimal that are added

AS_TEXT, AS_TABLES = COUNTS_AS_THE_TEXT_HAS_THEM.test, COUNTS_AS_THE_TABLES_HAVE_THEM.test


def row(paper: PaperName, attack: str | None, architecture: str = "proposed") -> ClassesRow:
    found = classification(paper, attack, architecture)
    assert found is not None
    return found


def published_accuracy(of: ClassesRow, counts: Mapping[str, int]) -> float:
    """Percent, by ``paper_accuracy``, of answers with the printed sensitivities."""
    total = sum(counts.values())
    right = round(of.recomputed_accuracy(counts) / 100 * total)
    found = paper_accuracy([0] * total, [0] * right + [1] * (total - right), len(counts))
    assert found is not None
    return 100 * found


def test_every_table_is_whole() -> None:
    for paper in PAPERS.values():
        lines = [of for of in CLASSIFICATION if of.paper == paper.name]
        assert [(of.attack, of.architecture) for of in lines] == [
            (attack, name) for attack in (None, *paper.attacked) for name in ARCHITECTURES
        ]
        assert all((of.auc is not None) == (paper.name == FOUR) for of in lines)
        assert [(of.dataset, of.attack) for of in GENERATOR if of.paper == paper.name] == [
            (dataset, attack) for dataset in paper.datasets for attack in (None, *paper.attacked)
        ]
    assert len(PTB) == 7 * len(ARCHITECTURES)
    for of in CLASSIFICATION:
        for figures in (of.sensitivity, of.specificity, of.auc or of.sensitivity):
            assert tuple(figures) == CLASSES and all(0 < figure < 100 for figure in figures.values())


def test_landmarks_of_each_table_are_as_printed() -> None:
    clean = row(FOUR, None)
    assert clean.accuracy == 98.8
    assert clean.sensitivity == {"N": 97.7, "S": 93.0, "V": 98.9, "F": 91.7}
    assert clean.specificity == {"N": 98.2, "S": 99.0, "V": 99.2, "F": 99.4}
    assert clean.auc == {"N": 98.0, "S": 96.0, "V": 99.1, "F": 95.7}
    attacked = row(SIX, "HSJ", "acharya")
    assert attacked.accuracy == 68.4
    assert attacked.sensitivity == {"N": 37.6, "S": 32.3, "V": 23.6, "F": 20.3}
    assert attacked.specificity == {"N": 70.0, "S": 57.4, "V": 90.4, "F": 90.0}
    ptb = PTB[-1]
    assert (ptb.attack, ptb.architecture) == ("HSJ", "acharya")
    assert (ptb.accuracy, ptb.sensitivity, ptb.specificity) == (54.7, 90.7, 19.4)
    assert classification(FOUR, "HSJ") is None and generator(FOUR, None, "PTB") is None


@pytest.mark.parametrize(
    ("paper", "attack", "architecture", "printed", "right"),
    [(SIX, "HSJ", "proposed", 71.9, 43.9), (FOUR, "FGSM", "acharya", 77.2, 54.4)],
)
def test_the_printed_accuracy_is_not_accuracy(
    paper: PaperName, attack: str, architecture: str, printed: float, right: float
) -> None:
    of = row(paper, attack, architecture)
    assert of.accuracy == printed
    assert round(of.recomputed_accuracy(AS_TEXT), 1) == right
    assert of.true_accuracy == pytest.approx(right, abs=0.15)
    assert published_accuracy(of, AS_TEXT) == pytest.approx(printed, abs=ROUNDING)
    assert f"{printed}%" in REMARKS["accuracy"] and f"{right}%" in REMARKS["accuracy"]


def test_the_sensitivities_give_the_printed_accuracies_once_s_and_v_are_exchanged() -> None:
    def close(counts: Mapping[str, int]) -> int:
        return sum(abs(published_accuracy(of, counts) - of.accuracy) <= ROUNDING for of in CLASSIFICATION)

    assert len(CLASSIFICATION) == 48
    assert (close(AS_TEXT), close(AS_TABLES)) == (18, 47)
    assert "47 of 48" in REMARKS["swapped classes"] and "of 18" in REMARKS["swapped classes"]
    assert max(abs(published_accuracy(of, AS_TABLES) - of.accuracy) for of in CLASSIFICATION) < 0.2
    assert max(abs(published_accuracy(of, AS_TEXT) - of.accuracy) for of in CLASSIFICATION) > 0.4


def test_the_two_counts_differ_in_s_and_v_alone_and_are_fewer_than_the_database_has() -> None:
    text, tables = COUNTS_AS_THE_TEXT_HAS_THEM, COUNTS_AS_THE_TABLES_HAVE_THEM
    exchange = {"N": "N", "S": "V", "V": "S", "F": "F"}
    for one, other in ((text.train, tables.train), (text.test, tables.test)):
        assert one == {name: other[exchange[name]] for name in CLASSES}
    assert sum(text.test.values()) == 19_327  # as the papers say
    assert text.train["S"] + text.test["S"] == 5_892 and text.train["V"] + text.test["V"] == 2_438
    assert all(tables.train[name] + tables.test[name] < DATABASE_COUNTS[name] for name in CLASSES)
    assert text.train["S"] + text.test["S"] > DATABASE_COUNTS["S"]


def test_the_printed_area_is_the_mean_of_sensitivity_and_specificity_but_in_one_row() -> None:
    off = [
        (of.attack, of.architecture, name)
        for of in CLASSIFICATION
        if of.auc is not None
        for name in CLASSES
        if abs(of.auc[name] - (of.sensitivity[name] + of.specificity[name]) / 2) > 0.15 + 1e-9
    ]
    assert off == [("FGSM", "shaker", name) for name in CLASSES]
    assert "76 of 80" in REMARKS["auc"]


def test_every_miss_is_another_class_s_false_alarm_but_in_one_row() -> None:
    total = sum(AS_TABLES.values())
    off = set()
    for of in CLASSIFICATION:
        missed = sum((100 - of.sensitivity[name]) * AS_TABLES[name] for name in CLASSES) / total
        false = sum((100 - of.specificity[name]) * (total - AS_TABLES[name]) for name in CLASSES) / total
        if abs(missed - false) > 0.5:
            off.add((of.attack, of.architecture))
    assert off == {("FGSM", "shaker")}


def test_other_architectures_have_the_same_rows_in_both_papers() -> None:
    for attack in (None, *PAPERS[FOUR].attacked):
        for name in ARCHITECTURES:
            one, two = row(FOUR, attack, name), row(SIX, attack, name)
            same = (one.accuracy, one.sensitivity, one.specificity) == (two.accuracy, two.sensitivity, two.specificity)
            assert same == (name != "proposed")


def test_accuracy_on_ptb_is_that_of_two_classes_of_nearly_equal_size() -> None:
    for of in PTB:
        assert of.accuracy == pytest.approx((of.sensitivity + of.specificity) / 2, abs=0.4)


def test_errors_are_swapped_exactly_where_the_squared_one_is_the_larger() -> None:
    for of in GENERATOR:
        assert of.swapped == (of.mse > of.nrmse)
        right = of.corrected
        assert right.mse < right.nrmse and not right.swapped
        if of.swapped:
            assert (right.mse, right.nrmse) == (of.nrmse, of.mse)
            assert right.correction is not None and "exchanged" in right.correction
        else:
            assert right is of and of.correction is None
    swapped = [(of.dataset, of.attack) for of in GENERATOR if of.swapped]
    assert swapped == [
        *(("MIT-BIH", attack) for attack in (None, "FGSM", "BIM", "PGD", "CW")),
        *(("PTB", attack) for attack in (None, "BIM", "PGD", "CW")),
    ]


def test_corrected_errors_have_the_ratio_of_one_data_set_but_in_one_row() -> None:
    off = []
    for of in GENERATOR:
        size = sqrt(of.corrected.mse) / of.corrected.nrmse  # root mean square of a beat
        if not 0.4 < size < 0.5:
            off.append((of.paper, of.attack))
    assert off == [(FOUR, "PGD")]


def test_attacks_have_their_names_in_salus() -> None:
    assert tuple(ATTACKS) == PAPERS[SIX].attacked
    assert all(attack.salus in SALUS_ATTACKS for attack in ATTACKS.values())
    assert {name: attack.eps for name, attack in ATTACKS.items()} == {
        "FGSM": 0.01, "BIM": 0.01, "PGD": 0.01, "CW": 0.1, "DBB": 0.01, "HSJ": None,
    }  # fmt: skip


def test_hyper_parameters_are_those_of_the_text() -> None:
    four, six = TRAINING[FOUR], TRAINING[SIX]
    assert (four.learning_rate, four.batch_size, four.folds, four.kappa) == (2e-4, 64, None, None)
    assert (six.learning_rate, six.batch_size, six.folds, six.kappa) == (1e-4, 128, 5, (1, 1.05))
    for training in (four, six):
        assert (training.lambda_ary, training.lambda_atk, training.lambda_mse) == (10, 10, 1)
        assert (training.betas, training.epochs, training.beats_per_class) == ((0.5, 0.999), 100, 10_000)
