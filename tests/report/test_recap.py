"""From stage to stage: clean, attacked, behind each guard, and the attacker who knows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path
from re import findall
from statistics import fmean
from typing import Any

import pytest

from salus.report.run_folder import Run
from salus.report.sections.recap import recap


def told(run: Path) -> list[str]:
    """What the figures of the section say to those who cannot see them."""
    page = (run / "report.html").read_text(encoding="utf-8")
    if '<section id="recap">' not in page:
        return []
    section = page[page.index('<section id="recap">') :]
    return [unescape(label) for label in findall(r'aria-label="([^"]*)"', section[: section.index("</section>")])]


def cell(run: Path, **wanted: Any) -> dict[str, Any]:
    cells = json.loads((run / "results.json").read_text(encoding="utf-8"))["cells"]
    found: dict[str, Any] = next(one for one in cells if all(one[key] == value for key, value in wanted.items()))
    return found


def test_figures_hold_what_the_cells_at_the_largest_eps_say(drawn_run: Callable[[str], Path]) -> None:
    run = drawn_run("signals")
    labels = told(run)
    assert len(labels) == 4  # two attacks, all classes and ill or healthy
    at = {"attack": "pgd", "eps": 0.02}
    clean, bare = cell(run, guard="none", attack=None), cell(run, guard="none", threat_model="white-box", **at)
    unaware = cell(run, guard="idef", threat_model="oblivious", **at)
    knowing = cell(run, guard="idef", threat_model="adaptive", **at)
    classes, illness = labels[2:]
    shares = [clean["clean_accuracy"], bare["robust_accuracy"], unaware["robust_accuracy"]]
    for word, row in (
        ("Accuracy", shares),
        ("Mean sensitivity", [fmean(c["sensitivity"] for c in one["per_class"]) for one in (clean, bare, unaware)]),
    ):
        spelled = ", ".join(
            f"{stage} {100 * share:.1f}%" for stage, share in zip(("clean", "attacked", "idef"), row, strict=True)
        )
        assert f"{word}: {spelled}" in classes
    assert f"accuracy, attacker knows the guard: idef {100 * knowing['robust_accuracy']:.1f}%" in classes
    missed = knowing["health"]["left_out"]["sensitivity"]
    assert f"sensitivity, attacker knows the guard: idef {100 * missed:.1f}%" in illness and "NPV" in illness


def test_attacks_that_differ_in_options_alone_stand_apart(make_run: Callable[[str], Path]) -> None:
    run = make_run("images")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    guarded = [one for one in results["cells"] if one["guard"] == "idef" and one["attack"] == "pgd"]
    for one in guarded:
        results["cells"].append({**one, "attack_options": {"steps": 100}, "id": one["id"][::-1]})
    (run / "results.json").write_text(json.dumps(results))
    section = recap(Run(run))
    assert section is not None
    titles = [panel["title"] for panel in section["panels"]]
    assert len(titles) == len(set(titles)) and any("steps=100" in title for title in titles)


@pytest.mark.parametrize("kind", ["table", "bare", "failing"])
def test_without_a_guard_there_is_nothing_to_recap(kind: str, drawn_run: Callable[[str], Path]) -> None:
    assert told(drawn_run(kind)) == []
