"""What the page says of patients: health figures, harm, and the word for those who belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from salus.report import write_report

MATRIX: list[list[float]] = [[0, 1.5, 1, 0.25], [10, 0, 2, 1], [12, 2, 0, 1], [7, 1, 1, 0]]


def _changed(run: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Draw the page after a change of the stored results; all white space is one blank."""
    path = run / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    change(results)
    path.write_text(json.dumps(results), encoding="utf-8")
    return re.sub(r"\s+", " ", write_report(run).read_text(encoding="utf-8"))


def _section(page: str) -> str:
    return page[page.index('<section id="health">') : page.index("</section>", page.index('<section id="health">'))]


def _add_harm(results: dict[str, Any]) -> None:
    results["meta"]["harm"] = {"asked": "own.csv", "matrix": MATRIX, "rejected": [0.3, 0.3, 0.3, 0.6]}
    for number, cell in enumerate(results["cells"]):
        cell |= {"harm": 0.125 + number, "harm_low": 0.1 + number, "harm_high": 0.2 + number}


def test_health_accuracy_and_the_two_class_matrix_stand_beside_the_other_figures(
    make_run: Callable[[str], Path],
) -> None:
    run = make_run("table")
    cells = json.loads((run / "results.json").read_text(encoding="utf-8"))["cells"]
    section = _section(_changed(run, lambda results: None))
    clean = next(cell for cell in cells if cell["attack"] is None)["health"]["left_out"]
    for name in ("accuracy", "sensitivity", "fnr", "npv"):
        assert f"{100 * clean[name]:.1f}%<small>{100 * clean[f'{name}_low']:.1f}–" in section
    assert ">Accuracy</th>" in section
    assert section.count("true ↓ answer →") == 2  # clean and attacked
    assert ">ill</th>" in section
    for row in clean["confusion"]["matrix"]:
        for count in row:
            assert f">{count}<small>" in section


def test_pages_of_audits_without_the_new_figures_are_still_drawn(make_run: Callable[[str], Path]) -> None:
    def older(results: dict[str, Any]) -> None:
        for cell in results["cells"]:
            for figures in (cell["health"] or {}).values():
                for name in ("accuracy", "accuracy_low", "accuracy_high", "confusion"):
                    del figures[name]

    section = _section(_changed(make_run("table"), older))
    assert "Health figures" in section and "true ↓" not in section
    assert "Mean harm" not in section


def test_the_weights_of_harm_are_printed_with_what_they_come_to(make_run: Callable[[str], Path]) -> None:
    section = _section(_changed(make_run("signals"), _add_harm))
    assert "<strong>own.csv</strong>" in section
    weights = section[section.index("What each answer costs") :]
    shown = [float(number) for number in re.findall(r'<td class="number">([\d.]+)</td>', weights)]
    assert shown == [cost for row, last in zip(MATRIX, [0.3, 0.3, 0.3, 0.6], strict=True) for cost in (*row, last)]
    assert "0.125<small>0.1–0.2</small>" in section


def test_the_most_harmful_attack_is_listed_beside_the_strongest(make_run: Callable[[str], Path]) -> None:
    run = make_run("signals")

    def harm_of_a_weak_attack(results: dict[str, Any]) -> None:
        _add_harm(results)
        bare = [c for c in results["cells"] if c["guard"] == "none" and c["attack"] == "fgsm" and c["eps"] == 0.005]
        bare[0]["harm"] = 99.0

    section = _section(_changed(run, harm_of_a_weak_attack))
    table = section[section.index("Mean harm of an input") : section.index("What each answer costs")]
    assert "FGSM at eps = 0.005" in table and ">99<small>" in table
    assert "at eps = 0.02" in table


def test_harm_is_shown_where_no_class_means_disease(make_run: Callable[[str], Path]) -> None:
    def add(results: dict[str, Any]) -> None:
        _add_harm(results)
        k = len(results["meta"]["data"]["classes"])
        results["meta"]["harm"] |= {"matrix": [[1.0] * k] * k, "rejected": [0.0] * k}

    page = _changed(make_run("images"), add)
    assert "What wrong answers cost" in _section(page)
    assert "Disease here means" not in page
    assert 'href="#health"' in page


def test_the_page_speaks_of_lesions_where_the_groups_are_lesions(make_run: Callable[[str], Path]) -> None:
    def of_lesions(results: dict[str, Any]) -> None:
        results["meta"]["data"]["group_word"] = "lesion"
        results["meta"]["warnings"] = []
        results["meta"]["data"]["provenance"]["split"] = results["meta"]["data"]["split"] = "by lesion"

    page = _changed(make_run("signals"), of_lesions)
    assert "drawing whole lesions again and again, because inputs of one lesion resemble" in page
    assert "<dt>Lesions</dt><dd>how many lesions the class&#39;s samples come from." in page
    assert page.count(">Lesions</th>") >= 2
    assert "one lesion" in page
    people = ("What it means for patients", "Other patients, devices or hospitals")
    assert all(said in page for said in people)
    assert page.count("patient") == len(people)
    assert "whole patients again" in _changed(make_run("table"), _grouped)


def _grouped(results: dict[str, Any]) -> None:
    """As an audit of an older version left it: groups, and no word for them."""
    results["meta"]["data"]["groups"] = {"test": 12}
