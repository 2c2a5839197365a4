from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from salus.data.assemble import clip_note
from salus.preprocessing.scaling import MinMax

# Multiples of 1e-3: a difference so small that float32 cannot hold it after scaling is no clipping to count.
VALUES = st.integers(-(10**9), 10**9).map(lambda n: n / 1000)


@given(x=arrays(np.float64, (12, 3), elements=VALUES))
def test_scaled_values_are_inside_and_training_is_never_clipped(x: np.ndarray) -> None:
    scaled, outside = MinMax.fit(x[:6])(x)
    assert scaled.dtype == np.float32
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    assert not outside[:6].any()
    np.testing.assert_array_equal(outside, (x < x[:6].min(0)) | (x > _top(x[:6])))


def _top(x: np.ndarray) -> np.ndarray:
    low, high = x.min(0), x.max(0)
    top: np.ndarray = np.where(high > low, high, low + 1)
    return top


def test_a_table_is_scaled_per_feature_and_an_image_as_a_whole() -> None:
    table, _ = MinMax.fit(np.array([[0.0, 10], [2, 30]]))(np.array([[1.0, 10]]))
    assert table.tolist() == [[0.5, 0.0]]
    image, _ = MinMax.fit(np.array([[[[0, 255]]]], dtype=np.uint8))(np.array([[[[51, 255]]]], dtype=np.uint8))
    assert image.ravel().tolist() == [np.float32(0.2), 1.0]


def test_clipped_values_are_counted_by_part_and_feature() -> None:
    x = np.array([[0.0, 0], [1, 1], [2, 0], [-1, 0.5]])
    parts = {"train": np.array([0, 1]), "test": np.array([2, 3])}
    _, outside = MinMax.fit(x[:2])(x)
    note = clip_note(outside, parts, ("age", "weight"))
    assert "0 in train, 2 in test (by feature: age 2)" in note
