"""Numbers and names in the words of the page, and labels that keep apart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salus.figures.style import plain, spread
from salus.report import words


def test_a_radius_of_an_image_is_written_in_its_own_steps() -> None:
    assert words.epsilon(8 / 255, "image") == "8/255"
    assert words.epsilon(8 / 255, "signal") == "0.03137"
    assert words.epsilon(0.01, "image") == "0.01"
    assert words.epsilon(None, "image") == "–"


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0, "0"), (40.0, "40"), (90631, "90,631"), (0.03137, "0.0314"), (1234.5, "1,234")],
)
def test_counts_are_written_to_be_read(value: float | None, said: str) -> None:
    assert words.number(value) == said


def test_attacks_that_differ_in_an_option_are_told_apart_by_it_alone() -> None:
    def cell(**options: Any) -> dict[str, Any]:
        return {
            "attack": "pgd",
            "attack_options": {"seed": 0, "restarts": 1, **options},
            "threat_model": "white-box",
        }

    assert words.line_names([cell(steps=10), cell(steps=100)]) == [
        "PGD steps=10, white-box",
        "PGD steps=100, white-box",
    ]
    assert words.line_names([cell(steps=10), cell(steps=10)]) == ["PGD, white-box"] * 2


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_labels_keep_their_distance_and_their_order(positions: list[float]) -> None:
    placed = spread(positions, 6.0, 0.0, 100.0)
    ordered = sorted(placed)
    assert all(b - a >= 6.0 - 1e-6 for a, b in pairwise(ordered))
    for i, a in enumerate(positions):
        for j, b in enumerate(positions):
            assert a >= b or placed[i] < placed[j]


@given(st.text())
def test_no_name_holds_what_xml_cannot(name: str) -> None:
    assert all(letter >= " " for letter in plain(name))
