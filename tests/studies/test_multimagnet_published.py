"""The printed tables of MultiMagNet agree with themselves where they do, and remarks say where they do not."""

from __future__ import annotations

from math import sqrt

import pytest

from salus.detectors.multimagnet_grid import Combination, Grid
from salus_studies.multimagnet.published import (
    ATTACKS,
    CHOSEN,
    CLASSIFIER_ACCURACY,
    DATASETS,
    DEFENCES,
    DETECTION,
    INPUTS_PER_ENSEMBLE,
    PARAMETERS,
    PROTECTED,
    REMARKS,
    SCENARIOS,
    UNDEFENDED,
    Spread,
    chosen,
    detection,
)

PLACES = [(dataset, attack) for dataset in DATASETS for attack in ATTACKS]


def test_every_table_is_whole() -> None:
    assert [(row.dataset, row.defence, row.attack) for row in DETECTION] == [
        (dataset, defence, attack) for dataset in DATASETS for defence in DEFENCES for attack in ATTACKS
    ]
    assert list(PARAMETERS) == list(PROTECTED) == list(UNDEFENDED) == PLACES
    assert [(row.dataset, attack) for row in CHOSEN for attack in row.attacks] == PLACES
    assert all(tuple(row) == tuple(SCENARIOS) for row in PROTECTED.values())
    for row in DETECTION:
        for figure in (row.accuracy, row.ppv, row.npv):
            assert 0 < figure.mean <= 100 and 0 <= figure.deviation < 50


def test_landmarks_of_each_table_are_as_printed() -> None:
    worst = detection("mnist", "multimagnet", "cw")
    assert (worst.accuracy, worst.ppv, worst.npv) == (Spread(61.10, 5.74), Spread(45.99, 22.23), Spread(75.24, 15.25))
    last = detection("cifar10", "magnet", "deepfool")
    assert (last.accuracy, last.ppv, last.npv) == (Spread(71.88, 21.18), Spread(93.03, 2.73), Spread(49.93, 42.93))
    assert PARAMETERS["mnist", "bim"] == {"eps": 0.15, "alpha": 0.07, "iterations": 50}
    assert PARAMETERS["cifar10", "cw"]["lrate"] == 0.5
    assert (chosen("mnist", "bim").drop_rate, chosen("mnist", "bim").metric) == (0.001, "re")
    assert (chosen("cifar10", "cw").approach, chosen("cifar10", "cw").temperature) == ("minTA", 5)
    assert PROTECTED["cifar10", "bim"]["multimagnet-reformer"] == Spread(96.75, 3.54)
    assert UNDEFENDED["cifar10", "fgsm"] == 40.60


def test_acc_is_the_mean_of_ppv_and_npv_but_where_a_remark_says_not() -> None:
    apart = {
        (row.dataset, row.defence, row.attack): row.accuracy.mean - (row.ppv.mean + row.npv.mean) / 2
        for row in DETECTION
    }
    assert {place for place, points in apart.items() if abs(points) > 0.501} == {
        ("mnist", "magnet", "cw"),
        *(("cifar10", defence, attack) for defence in DEFENCES for attack in ("bim", "cw")),
    }
    assert apart["mnist", "magnet", "cw"] == pytest.approx(56.00 - 61.19)
    assert apart["cifar10", "magnet", "cw"] == pytest.approx(66.55 - 71.815)
    assert apart["cifar10", "magnet", "bim"] == pytest.approx(-1.645)
    assert apart["cifar10", "multimagnet", "bim"] == pytest.approx(1.54)
    for words in ("61.19", "71.82", "1.6 points"):
        assert words in REMARKS["ACC"]


def test_without_a_defence_table_5_is_the_mean_of_clean_accuracy_and_table_6() -> None:
    for (dataset, attack), row in PROTECTED.items():
        clean = 2 * row["none"].mean - UNDEFENDED[dataset, attack]
        assert clean == pytest.approx({"mnist": 99.40, "cifar10": 89.06}[dataset], abs=0.2)
    assert CLASSIFIER_ACCURACY["mnist"] == 99.40


def test_its_deviations_are_those_of_batches_of_a_hundred() -> None:
    for attack in ("fgsm", "bim", "deepfool", "cw"):
        mean, deviation = (getattr(PROTECTED["mnist", attack]["none"], name) / 100 for name in ("mean", "deviation"))
        binomial = sqrt(mean * (1 - mean) / INPUTS_PER_ENSEMBLE)
        assert 0.75 < deviation / binomial < 1.25
        assert deviation > 5 * sqrt(mean * (1 - mean) / 4000)


def test_table_4_is_within_the_default_grid() -> None:
    rows = set(Grid().combinations())
    for row in CHOSEN:
        combination = Combination(
            n=5, metric=row.metric, temperature=row.temperature or 1.0, drop_rate=row.drop_rate, approach=row.approach
        )
        assert combination in rows
