"""The page of an audit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from salus.errors import BundleError
from salus.report import words, write_report

SECTIONS = {
    "about", "accuracy", "cells", "classes", "confusion", "health", "detection", "examples", "reach",
    "meaning",
}  # fmt: skip
EXPECTED = {
    "signals": SECTIONS | {"controls", "recap"},
    "images": SECTIONS - {"health"} | {"smallest", "recap"},
    "table": SECTIONS - {"detection"},
    "failing": SECTIONS - {"health", "detection", "examples", "reach"},
    "bare": {"about", "cells", "classes", "confusion", "meaning"},
    "hostile": SECTIONS,
}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Parses strictly: every tag closed in order, every id used once."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self, tag: str | None = None) -> list[str]:
        return [str(attrs["id"]) for name, attrs in self.tags if "id" in attrs and tag in (None, name)]


def drawn(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def results(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return content


def test_the_page_is_well_formed_and_no_id_comes_twice(run: Path) -> None:
    page = drawn(run)
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("href", "xlink:href"):
            target = attrs.get(name) or ""
            assert not target.startswith("#") or target[1:] in ids


def test_the_page_loads_nothing_and_runs_nothing(run: Path) -> None:
    page = drawn(run)
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, attrs)
            if name in ("href", "xlink:href", "src", "action", "data"):
                assert (value or "").startswith(("#", "data:image/png")), (tag, attrs)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_sections_stand_where_they_have_something_to_show(drawn_run: Callable[[str], Path]) -> None:
    for kind, expected in EXPECTED.items():
        page = drawn(drawn_run(kind))
        assert set(page.ids("section")) | set(page.ids("footer")) == expected, kind


def test_drawn_again_the_page_is_the_same_to_the_byte(run: Path) -> None:
    before = dict(mpl.rcParams)
    first = (run / "report.html").read_bytes()
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "red"}):
        assert write_report(run).read_bytes() == first
    assert dict(mpl.rcParams) == before


def test_every_rate_of_every_cell_stands_in_the_page(run: Path) -> None:
    text = drawn(run).text
    for cell in results(run)["cells"]:
        for name in ("clean_accuracy", "robust_accuracy", "attack_success_rate", "fallen_all"):
            if cell[name] is not None:
                assert f"{100 * cell[name]:.1f}%" in text
                assert f"{100 * cell[f'{name}_low']:.1f}–{100 * cell[f'{name}_high']:.1f}" in text
        if cell["detection_auc"] is not None:
            assert f"{cell['detection_auc']:.3f}" in text


def rows_of_cells(run: Path) -> list[str]:
    """The rows of the table of all cells, each with what is folded away below it; the constant's row first."""
    text = (run / "report.html").read_text(encoding="utf-8")
    section = text[text.index('<section id="cells">') :]
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    rows = re.split(r"<tr>", body)[1:]
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)) for row in rows]


def test_the_row_of_a_cell_holds_its_own_numbers(drawn_run: Callable[[str], Path]) -> None:
    run = drawn_run("signals")
    first, *rows = rows_of_cells(run)
    cells = sorted(results(run)["cells"], key=lambda cell: cell["guard"] != "none")  # grouped, bare first
    constant = results(run)["meta"]["commonest"]
    assert f"always '{constant['label']}'" in first.replace("&#39;", "'") and "whatever is done" in first
    assert first.count(f"{100 * constant['share']:.1f}%") == 2
    assert len(rows) == len(cells)
    for row, cell in zip(rows, cells, strict=True):
        assert f"Samples {cell['n']}" in row and "Seconds 1.25" in row
        if cell["attack"]:
            assert words.attack(cell["attack"]) in row and str(cell["threat_model"]) in row
            assert f"{100 * cell['robust_accuracy']:.1f}%" in row
            assert f"Fallen, all {100 * cell['fallen_all']:.1f}%" in row
            attacked = cell["threat_model"] != "control"
            assert ("AML.T0015 Evade AI Model" in row) == ("NISTAML.02" in row) == ("evasion" in row) == attacked
        passes = cell["threat_model"] == "adaptive" and cell["detection_auc"] is not None
        assert ("⚠" in row) == passes
        for name in ("detection_auc", "detection_auc_driven", "detection_auc_all"):
            assert cell[name] is None or f"{cell[name]:.3f}" in row


def test_cells_are_grouped_by_what_judged_them(drawn_run: Callable[[str], Path]) -> None:
    text = (drawn_run("signals") / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<tr class="group"><th[^>]*><span>([^<]*)', text) == ["bare classifier", "idef"]


def test_taxonomy_follows_what_the_attacker_sees(drawn_run: Callable[[str], Path]) -> None:
    signals, table = drawn(drawn_run("signals")).text, drawn(drawn_run("table")).text
    assert "AML.T0043.000" in signals and "AML.T0043.002" in signals
    assert "black-box, query" in table and "AML.T0043.001" in table
    assert "NISTAML.025 Black-box Evasion" in table and "NISTAML.023" not in table


def test_ids_stand_with_their_names_and_editions(drawn_run: Callable[[str], Path]) -> None:
    page = drawn(drawn_run("signals")).text
    assert "MITRE ATLAS 2026.09: AML.M0015 Predictive AI Adversarial Input Detection" in page
    foot = page[page.index("Ids of attacks and of defences") :]
    assert "NIST AI 100-2 e2025" in foot and "NISTAML.022 Evasion" in foot and "AML.T0015 Evade AI Model" in foot


def test_the_constant_answer_stands_beside_accuracies(drawn_run: Callable[[str], Path]) -> None:
    run = drawn_run("signals")
    constant = results(run)["meta"]["commonest"]
    page = drawn(run)
    row = f"always '{constant['label']}' the commonest class"
    # Both guards' tables of accuracy, all cells, and harmless changes.
    assert page.text.count(row) == 4
    assert "always ill the commoner" in page.text
    drawings = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and "aria-label" in attrs]
    share = f"Always answering '{constant['label'].lower()}': {100 * constant['share']:.1f}%"
    assert sum(share.lower() in str(label).lower() for label in drawings) == 2


def test_an_auc_of_who_only_passes_is_marked_and_stands_beside_that_of_who_drives_the_score(
    drawn_run: Callable[[str], Path],
) -> None:
    run = drawn_run("signals")
    text = drawn(run).text
    section = text[text.rindex("Detecting the attack") : text.rindex("Harmless changes")]
    told = [cell for cell in results(run)["cells"] if cell["threat_model"] == "adaptive" and cell["detection_auc"]]
    assert len(told) > 2
    for cell in told:
        assert f"{cell['detection_auc']:.3f} ⚠ of an attacker who only has to pass this threshold" in section
        assert f"{cell['detection_auc_driven']:.3f}" in section
    assert section.count("⚠ of an attacker who only has to pass") == len(told)  # not those who know of no guard
    assert "fooled, score driven down, AUC" in str([attrs.get("aria-label") for _, attrs in drawn(run).tags])
    assert "only has to pass" not in drawn(drawn_run("table")).text


def test_pages_of_audits_from_before_are_drawn_without_what_these_lack(make_run: Callable[[str], Path]) -> None:
    run = make_run("signals")
    old = results(run)
    del old["meta"]["commonest"], old["meta"]["codes"]
    for cell in old["cells"]:
        for name in ("nist_id", *(f"detection_auc_driven{end}" for end in ("", "_low", "_high"))):
            del cell[name]
    (run / "results.json").write_text(json.dumps(old), encoding="utf-8")
    write_report(run)
    page = drawn(run).text
    assert "always '" not in page and "AUC, driven" not in page and "MITRE ATLAS AML.T0015" in page


def test_attacks_without_eps_have_a_figure_and_table_of_their_own(drawn_run: Callable[[str], Path]) -> None:
    page = drawn(drawn_run("images")).text
    assert "How small a change suffices" in page and "The smallest changes found" in page
    assert "How small a change suffices" not in drawn(drawn_run("signals")).text


def test_harmless_changes_stand_apart_from_attacks(drawn_run: Callable[[str], Path]) -> None:
    page = drawn(drawn_run("signals")).text
    section = page[page.index("No attack, but noise") : page.index("What attacked inputs look like")]
    assert section.count("baseline-wander") == 2 and "snr=18" in section and "30.8%" in section
    before = page[: page.index("All cells")]
    assert "baseline-wander" not in before  # neither in the figure nor among the attacks
    assert "No attack, but noise" not in drawn(drawn_run("images")).text


def test_names_from_users_stay_words(drawn_run: Callable[[str], Path]) -> None:
    text = drawn(drawn_run("hostile")).text
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "$\\frac{" in text
    assert "\x07" not in text


def test_the_verdict_stands_first_and_each_warning_once(drawn_run: Callable[[str], Path]) -> None:
    run = drawn_run("signals")
    page = drawn(run)
    headline = results(run)["meta"]["verdict"][0]
    assert headline in page.text
    assert page.text.index(headline) < page.text.index("Before you rely") < page.text.index("What was audited")
    assert page.text.count("One patient supplies 97.0% of class 'F'.") == 1


def test_a_guard_without_an_adaptive_attack_is_called_an_upper_bound(drawn_run: Callable[[str], Path]) -> None:
    assert "Guard 'idef' was not attacked by anyone who knows it" in drawn(drawn_run("images")).text
    assert "was not attacked by anyone" not in drawn(drawn_run("signals")).text


def test_failed_cells_are_named_with_their_reason(drawn_run: Callable[[str], Path]) -> None:
    text = drawn(drawn_run("failing")).text
    assert "1 of 3 cells failed" in text
    assert "the logits are NaN for sample 3" in text


def test_a_class_of_one_patient_is_marked(drawn_run: Callable[[str], Path]) -> None:
    text = drawn(drawn_run("signals")).text
    assert "⚠ one patient" in text and re.search(r"one has 9\d\.\d%", text)


def test_every_figure_and_table_can_be_read_without_seeing(run: Path) -> None:
    page = drawn(run)
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs.get("role") == "img" and len(attrs.get("aria-label") or "") > 20
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) > 0
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_each_column_is_explained_once(drawn_run: Callable[[str], Path]) -> None:
    run = drawn_run("signals")
    text = "".join(re.findall(r'<dl class="notes">.*?</dl>', (run / "report.html").read_text(encoding="utf-8"), re.S))
    for name in ("Robust accuracy", "Attack", "Sensitivity", "FNR", "AUC, fooled", "Rejected noise"):
        assert text.count(f"<dt>{name}</dt>") == 1, name


def test_a_folder_that_is_no_audit_is_refused_in_a_sentence(tmp_path: Path, make_run: Callable[[str], Path]) -> None:
    with pytest.raises(BundleError, match=r"holds no results\.json"):
        write_report(tmp_path)
    run = make_run("bare")
    whole = (run / "results.json").read_text(encoding="utf-8")
    for broken in ("", whole[:200], "[1, 2]", '{"meta": {}, "cells": []}', '{"meta": 3, "cells": 4}'):
        (run / "results.json").write_text(broken, encoding="utf-8")
        with pytest.raises(BundleError, match=r"results\.json"):
            write_report(run)
    assert not (run / "report.html").exists()


def test_damaged_arrays_are_refused_and_missing_ones_leave_their_sections_out(
    make_run: Callable[[str], Path],
) -> None:
    run = make_run("table")
    for path in (run / "cells").iterdir():
        path.unlink()
    write_report(run)
    assert {"examples", "reach"}.isdisjoint(drawn(run).ids("section"))
    (run / "samples.safetensors").write_bytes(b"not safetensors")
    cell = next(cell for cell in results(run)["cells"] if cell["attack"])
    (run / "cells" / f"{cell['id']}.safetensors").write_bytes(b"\x00" * 5)
    with pytest.raises(BundleError, match="cannot be read"):
        write_report(run)
