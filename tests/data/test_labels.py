from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from salus.data.labels import class_name, encode_against, encode_array, encode_words
from salus.errors import DataError


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([f"{i}.0" for i in range(12)], tuple(map(str, range(12)))),
        (["2", "2.0", "10", "1.000e+00"], ("1", "2", "10")),
        (["-1.0", "1.0"], ("-1", "1")),
        (["-0.0", "1"], ("0", "1")),
        (["0.5", "10.5", "2.0"], ("0.5", "2", "10.5")),
        (["01", "02", "10"], ("01", "02", "10")),  # a code keeps its zeros
        (["N", "V", "2.0"], ("2", "N", "V")),
        (["1E5", "1E10", "B2"], ("1E10", "1E5", "B2")),  # places on a plate
        (["v1.10", "v1.1"], ("v1.1", "v1.10")),
        (["1." + "0" * 20, "3"], ("1", "3")),
    ],
)
def test_numbers_are_named_as_whole_numbers_and_stand_in_numeric_order(
    labels: list[str], classes: tuple[str, ...]
) -> None:
    y, found = encode_words(labels[::-1], name="own")
    assert found == classes
    assert [found[index] for index in y] == [class_name(label) for label in labels[::-1]]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, 2, 3, 10]),
        np.array([1.0, 2.0, 3.0, 10.0]),
        np.array([1, 2, 3, 10], dtype=np.uint8),
        np.array(["1", "2.0", "3", "10.0"]),
        np.array([b"1", b"2.0", b"3", b"10"]),
        np.array([[1], [2], [3], [10]]),
    ],
)
def test_the_same_labels_give_the_same_classes_however_they_are_held(labels: np.ndarray) -> None:
    y, classes = encode_array(labels, name="own")
    assert classes == ("1", "2", "3", "10") and y.tolist() == [0, 1, 2, 3]
    assert encode_against(labels, ("10", "3", "2", "1"), name="own").tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["2", "02"], "labels '02' and '2' are the same number; write them alike"),
        (["0.5", "0.50"], "labels '0.5' and '0.50' are the same number"),
        (["+1", "1", "a"], r"labels '\+1' and '1' are the same number"),
        (["1", "", "2"], "sample 1 has an empty label"),
        (["1", "2", "NA"], "sample 2 has the label 'NA', which stands for a missing one"),
        (["a", "nan"], "sample 1 has the label 'nan'"),
    ],
)
def test_labels_that_are_missing_or_one_number_in_two_ways_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode_words(labels, name="own")


def test_words_that_mean_nothing_elsewhere_are_classes_among_words() -> None:
    assert encode_words(["na", "null", "none"], name="own")[1] == ("na", "none", "null")


def test_a_label_that_is_no_number_in_an_array_is_named() -> None:
    with pytest.raises(DataError, match=r"sample 2 has no label \(NaN\)"):
        encode_array(np.array([0, 1, np.nan]), name="own")
    with pytest.raises(DataError, match="one-hot labels: take the argmax"):
        encode_array(np.eye(2), name="own")


BEATS = ("N", "S", "V", "F")


@pytest.mark.parametrize(
    ("labels", "classes", "places"),
    [
        (["V", "N"], BEATS, [2, 0]),
        (np.array([0, 1, 3]), BEATS, [0, 1, 3]),  # places in the list
        (np.array([2, 0]), ("0", "1", "10", "2"), [3, 0]),  # names, whatever their order
        (np.array([1, 2, 9]), tuple(map(str, range(1, 10))), [0, 1, 8]),  # names 1..K, not places
        (np.array([0, 1, 2]), ("1", "2", "3"), [0, 1, 2]),  # every place and not every name: places
        (["1", "02", "3.0"], ("1.0", "2", "03"), [0, 1, 2]),
        (["02", "2"], ("2", "02"), [1, 0]),  # a name as it stands goes first
        (np.array([True, False]), ("benign", "malignant"), [1, 0]),
        (np.array([True, False]), ("True", "False"), [0, 1]),
        (np.array(["mild ", "mild"]), ("mild", "mild "), [1, 0]),
    ],
)
def test_labels_are_matched_with_given_classes_by_name(
    labels: Any, classes: tuple[str, ...], places: list[int]
) -> None:
    assert encode_against(labels, classes, name="labels.npy").tolist() == places


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([1, 2, 3, 4], BEATS, r"labels 1, 2, 3, 4 could be counted from 1 \(1 is 'N'\), or from 0 \(1 is 'S', and"),
        ([0, 2], ("1", "2", "3"), "labels 0, 2 could be names of classes, but none is called '0', or places"),
        ([0, 4], BEATS, "sample 1 has the label '4', which is no class"),
        ([-1, 0], BEATS, "sample 0 has the label '-1', which is no class"),
        (["W", "Q", "V"], BEATS, "sample 0 has the label 'W', .* known: F, N, S, V. Labels that are no class: W, Q."),
        (["malign"], ("benign", "malignant"), "no class; did you mean 'malignant'.* Classes: benign, malignant"),
        (["2"], ("02", "2.0"), "the labels 2 could be"),
        (["1", "nan"], ("1", "2"), "stands for a missing one"),
    ],
)
def test_labels_that_are_no_class_or_could_be_two_are_refused(
    labels: list[Any], classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        encode_against(np.array(labels), classes, name="labels.npy")
    assert "'labels.npy'" in str(error.value)


def test_places_that_could_be_counted_from_one_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert encode_against(np.array([1, 2, 1]), BEATS, name="y").tolist() == [1, 2, 1]
    assert "counted from 0 (1 is 'S', 2 is 'V'); if they are counted from 1" in capsys.readouterr().err
    encode_against(np.array([0, 1]), BEATS, name="y")
    assert capsys.readouterr().err == ""
