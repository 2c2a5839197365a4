"""The accuracy that costs nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salus.errors import DataError
from salus.metrics import commonest


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_no_constant_answer_is_right_more_often(labels: list[int]) -> None:
    classes = ("a", "b", "c", "d")
    constant = commonest(torch.tensor(labels), classes)
    shares = {name: labels.count(place) / len(labels) for place, name in enumerate(classes)}
    assert constant.share == max(shares.values()) == shares[constant.label]
    assert constant.n == len(labels)


def test_it_is_said_in_words() -> None:
    assert str(commonest([0, 1, 1], ("NV", "MEL"))) == "always answering 'MEL': 66.7%"
    with pytest.raises(DataError, match="Without a sample"):
        commonest([], ("NV",))
