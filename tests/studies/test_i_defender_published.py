"""What is kept of I-defender's tables is what the paper prints, and its remarks hold."""

from __future__ import annotations

import re

import pytest

from salus_studies.i_defender.published import (
    ALPHAS,
    ALPHAS_IN_OUR_COPY,
    BLACK_BOX,
    DETECTION,
    EPSILONS,
    GRAY_BOX,
    IMAGENET,
    IMAGENET_ACCURACY,
    IMAGENET_LINES,
    METHOD_NAMES,
    SEMI_WHITE_BOX,
    SHALLOW_AND_DEEP,
    TARGET_AND_SOURCE,
)

# Copied from the paper's text.
TABLES_2_AND_4 = {
    "mnist": "I-defender 0.993 | 1.0 10 800 | 1.0 10 400 | 0.985 10 50 | 0.982 5 100 | 0.922 2 100 | 0.836 1 100",
    "fashion-mnist": "I-defender 0.985 | 0.987 10 800 | 0.983 10 400 | 0.965 10 100 | 0.945 5 100 | 0.935 10 25 | "
    "0.876 2 100 | 0.794 1 100",
}
TABLES_3_AND_5 = {
    "mnist": "0.1 0.914 0.964 | 0.15 0.975 0.979 | 0.2 0.989 0.988 | 0.25 0.998 0.991 | 0.3 0.999 0.993",
    "fashion-mnist": "0.1 0.775 0.9302 | 0.15 0.884 0.9587 | 0.2 0.940 0.9722 | 0.25 0.969 0.9807 | 0.3 0.985 0.9850",
}
TABLE_6 = """
Method Adv Acc	Iter- 13.14%	Iter- 10.80%	FGSM 27.84%	DeepFool 24.53%	Iter- 29.56%	FGSM 45.68%
SVM	83.6	84.840	75.545	78.305	76.330	61.755
mSVM	92.52	93.915	74.480	86.635	76.670	60.895
Subnet	98.235	98.660	68.980	49.270	49.295	49.27
ID-95	81.28	79.398	87.464	87.636	78.730	85.024
ID-99	79.04	74.173	90.485	90.709	74.580	87.596
"""
TABLE_7 = (
    "85.203 / 76.450 83.261 / 58.967 83.875 / 59.459 83.945 / 59.554",
    "86.249 / 75.786 84.740 / 69.243 85.406 / 71.179 85.576 / 72.027",
)
TABLE_8 = (
    "85.203 / 87.549 83.261 / 87.555 83.875 / 87.637 83.945 / 87.553",
    "86.249 / 86.23 84.740 / 86.215 85.406 / 85.844 85.576 / 85.528",
)
TABLE_9 = """
1e-2	70.892 / 62.685	62.636 / 97.201	59.032 / 93.832
1e-1	70.892 / 62.801	62.646 / 97.211	59.016 / 93.837
1	70.892 / 62.612	62.648 / 97.215	59.010 / 93.834
"""


def numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"(?<![\w-])\d+(?:\.\d+)?(?:e-\d+)?", text)]


@pytest.mark.parametrize("data", BLACK_BOX)
def test_tables_2_to_5_are_as_printed(data: str) -> None:
    paper = BLACK_BOX[data]
    own, *lines = TABLES_2_AND_4[data].split("|")
    assert numbers(own) == [paper.i_defender]
    assert [numbers(line) for line in lines] == [[one.auc, one.restarts, one.iterations] for one in paper.descents]
    assert [numbers(line) for line in TABLES_3_AND_5[data].split("|")] == [
        [one.eps, one.defense_gan, one.i_defender] for one in paper.strengths
    ]
    assert tuple(one.eps for one in paper.strengths) == EPSILONS
    assert paper.strengths[-1].i_defender == paper.i_defender


def test_table_6_is_as_printed() -> None:
    head, *lines = TABLE_6.strip().splitlines()
    assert numbers(head.replace("%", "")) == [column.adversarial_accuracy for column in SEMI_WHITE_BOX]
    assert [tuple(numbers(line.split("\t", 1)[1])) for line in lines] == list(DETECTION.values())
    assert list(METHOD_NAMES) == list(DETECTION)
    assert len({column.key for column in SEMI_WHITE_BOX}) == 6


def test_tables_7_and_8_hold_what_our_copy_holds_and_no_more() -> None:
    held = [column.key for column in GRAY_BOX if column.in_our_copy]
    for text, table in ((TABLE_7, TARGET_AND_SOURCE), (TABLE_8, SHALLOW_AND_DEEP)):
        assert list(table) == held
        for line, column in zip(text, table.values(), strict=True):
            assert numbers(line) == [value for pair in column for value in pair]
    assert [[one for one, _ in column] for column in TARGET_AND_SOURCE.values()] == [
        [one for one, _ in column] for column in SHALLOW_AND_DEEP.values()
    ], "Table 8's WRN-34-8 is Table 7's target"
    assert len(ALPHAS_IN_OUR_COPY) == 3 and all(len(column) == len(ALPHAS) for column in TARGET_AND_SOURCE.values())


def test_table_9_is_as_printed() -> None:
    lines = [numbers(line) for line in TABLE_9.strip().splitlines()]
    assert lines == [[alpha, *(v for pair in row for v in pair)] for alpha, row in IMAGENET_LINES.items()]
    assert [column.eps for column in IMAGENET] == [0.3, 0.019, 12.5]
    assert all(accuracy < IMAGENET_ACCURACY for row in IMAGENET_LINES.values() for accuracy, _ in row)
