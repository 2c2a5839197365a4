"""Rankings: who may stand beside whom, in which order, and what is said of it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from salus.cli import main
from salus.errors import BundleError, OptionError
from salus.metrics import Rate, wilson
from salus.report.leaderboard import Leaderboard, compare, read_audits, write_csv, write_index, write_leaderboard
from salus.report.leaderboard.audits import Contender
from salus.report.leaderboard.standing import Standing, mean_over_seeds, ranked

N = 400
HOSTILE = "<script>alert(1)</script>"


class Audit:
    """Writes the results of an audit: the bare classifier, a guard, and attacks on both."""

    def __init__(self, folder: Path, *, clean: float = 0.9, seed: int = 0, model: str = "small", n: int = N) -> None:
        self.folder, self.clean, self.n = folder, clean, n
        self.cells: list[dict[str, Any]] = []
        self.meta: dict[str, Any] = {
            "salus": "0.1.0", "created": "2026-11-30T10:00:00+00:00", "seed": seed, "device": "cpu", "threads": 1,
            "samples": n, "commonest": {"label": "N", "share": 0.5, "n": n}, "verdict": ["This classifier is fooled."],
            "data": {"name": "beats", "split": "patients", "kind": "signal", "classes": ["N", "V"],
                     "fingerprint": "ab" * 32, "counts": {"test": {"N": n, "V": n}}},
            "model": {"name": model, "fingerprint": f"{seed:064x}", "parameters": 100,
                      "training": {"epochs": 3, "seed": seed}},
        }  # fmt: skip
        self.cell("none")

    def cell(
        self, guard: str, attack: str | None = None, robust: float | None = None, *, threat: str | None = None,
        eps: float | None = 0.01, norm: str = "linf", error: str | None = None, **options: Any,
    ) -> Audit:  # fmt: skip
        if attack is not None and threat is None:
            threat = "white-box" if guard == "none" else "adaptive"
        record: dict[str, Any] = {
            "id": f"{len(self.cells):016x}", "guard": guard, "attack": attack, "eps": eps if attack else None,
            "norm": norm if attack else None, "threat_model": threat, "n": self.n, "error": error,
            "attack_options": {"seed": self.meta["seed"], **options}, "seconds": 2.0, "queries": 20.0, "passes": 10.0,
        }  # fmt: skip
        record |= self._rate("clean_accuracy", self.clean) | self._rate("robust_accuracy", robust)
        record |= self._rate("rejected_clean", 0.0 if guard == "none" else 0.05)
        self.cells.append(record)
        return self

    def _rate(self, name: str, value: float | None) -> dict[str, float | None]:
        low, high = (None, None) if value is None else wilson(value * self.n, self.n)
        return {name: value, f"{name}_low": low, f"{name}_high": high}

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "results.json").write_text(json.dumps({"form": 1, "meta": self.meta, "cells": self.cells}))
        return self.folder


def ranking(*folders: Path, **how: Any) -> Leaderboard:
    return compare(read_audits(folders), **how)


def order(leaderboard: Leaderboard, place: int = 0) -> list[tuple[str, str]]:
    return [(each.contender.name, each.guard) for each in leaderboard.boards[place].standings]


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two audits, each of a bare classifier and of a guard."""
    a = Audit(tmp_path / "runs" / "a").cell("none", "pgd", 0.10, steps=40).cell("none", "fgsm", 0.30)
    a.cell("idef").cell("idef", "pgd", 0.80, threat="oblivious", steps=40).cell("idef", "pgd", 0.40, steps=40)
    a.cell("idef", "fgsm", 0.50)
    b = Audit(tmp_path / "runs" / "b", seed=1, model="hard").cell("none", "pgd", 0.60, steps=40)
    b.cell("none", "fgsm", 0.70).cell("idef").cell("idef", "pgd", 0.61, steps=40).cell("idef", "fgsm", 0.75)
    return a.write(), b.write()


def test_who_knows_most_counts_and_of_their_attacks_the_one_that_leaves_least(two: tuple[Path, Path]) -> None:
    found = ranking(*two)
    (board,) = found.boards
    assert order(found) == [("b", "idef"), ("b", "none"), ("a", "idef"), ("a", "none")]
    assert [each.value for each in board.standings] == [0.61, 0.60, 0.40, 0.10], "0.80 of the oblivious does not count"
    assert [(each.best, each.last) for each in board.standings] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert board.standings[0].tied == ("b · bare classifier",) and not board.standings[2].tied
    assert board.verdict[0] == "b · idef and b · bare classifier cannot be told apart at the head."
    assert board.verdict[2] == "Surely below b · idef: a · idef and a · bare classifier."
    assert board.verdict[3] == (
        "Always answering the commonest class is right on 50.0%, whatever is done: 2 of 4 are surely more robust than "
        "that (b · idef and b · bare classifier)."
    )
    assert (board.standings[3].seconds, board.standings[3].forward, board.standings[3].backward) == (4.0, 40.0, 20.0)
    assert board.remarks == ("Their seeds differ, and with them which samples of the same test part were drawn for the "
                             "attack.",)  # fmt: skip


def test_a_weaker_threat_model_may_be_asked_for_and_is_called_an_upper_bound(two: tuple[Path, Path]) -> None:
    audits = [Audit(two[0].parent / name) for name in ("c", "d")]
    for audit, left in zip(audits, (0.3, 0.7), strict=True):
        audit.cell("none", "pgd", left / 2).cell("idef").cell("idef", "pgd", left, threat="oblivious")
    found = ranking(*(audit.write() for audit in audits), threat_model="oblivious")
    assert [each.value for each in found.boards[0].standings] == [0.7, 0.35, 0.3, 0.15]
    assert any("upper bounds" in sentence for sentence in found.boards[0].remarks)
    with pytest.raises(OptionError, match="Unknown threat model 'oblivous'; did you mean 'oblivious'"):
        ranking(*two, threat_model="oblivous")


def change_data(audit: Audit) -> None:
    audit.meta["data"] |= {"fingerprint": "cd" * 32, "split": "beats"}


def change_samples(audit: Audit) -> None:
    audit.meta["samples"] = 1200


def change_eps(audit: Audit) -> None:
    for cell in audit.cells:
        cell["eps"] = cell["eps"] and 0.02


def change_norm(audit: Audit) -> None:
    for cell in audit.cells:
        cell["norm"] = cell["norm"] and "l2"


def change_threat(audit: Audit) -> None:
    for cell in audit.cells:
        cell["threat_model"] = cell["threat_model"] and "transfer"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (change_data, "b cannot be ranked beside a: its test data have the fingerprint cdcdcdcdcdcd, not abababababab; "
                      "they are beats, split beats, not beats, split patients."),
        (change_samples, "b cannot be ranked beside a: 1,200 samples were attacked, not 400."),
        (change_eps, "The bare classifier of b cannot be ranked at eps = 0.01 (L∞): it was attacked at eps = 0.02 (L∞) "
                     "alone."),
        (change_norm, "it was attacked at eps = 0.01 (L2) alone"),
        (change_threat, "The bare classifier of b cannot be ranked at eps = 0.01 (L∞): it was not attacked by one who "
                        "knows everything (threat model white-box), as the bare classifier of a was. Audit it so."),
    ],
)  # fmt: skip
def test_what_is_not_comparable_is_refused_and_said(
    tmp_path: Path, change: Callable[[Audit], None], sentence: str
) -> None:
    audits = [Audit(tmp_path / name).cell("none", "pgd", 0.5) for name in "ab"]
    change(audits[1])
    folders = [audit.write() for audit in audits]
    with pytest.raises(OptionError, match=re.escape(sentence)):
        ranking(*folders)
    result = salus("leaderboard", *folders, "--page", tmp_path / "page.html", "--csv", tmp_path / "table.csv")
    assert result.exit_code == 2 and result.output.startswith("Error: ") and sentence in result.output
    assert not (tmp_path / "page.html").exists() and not (tmp_path / "table.csv").exists()
    kept = ranking(*folders, strict=False)
    assert order(kept) == [("a", "none")] and any(sentence in note for note in kept.notes)


def test_a_weaker_threat_model_that_all_share_is_named(tmp_path: Path) -> None:
    a = Audit(tmp_path / "a").cell("none", "pgd", 0.5).cell("none", "pgd", 0.6, threat="transfer").write()
    b = Audit(tmp_path / "b").cell("none", "pgd", 0.7, threat="transfer").write()
    with pytest.raises(OptionError, match=r"or rank all by salus leaderboard --threat-model transfer\.$"):
        ranking(a, b)
    assert order(ranking(a, b, threat_model="transfer")) == [("b", "none"), ("a", "none")]


def test_each_size_of_change_that_all_share_is_ranked_and_one_may_be_chosen(tmp_path: Path) -> None:
    a = Audit(tmp_path / "a").cell("none", "pgd", 0.5, eps=8 / 255).cell("none", "pgd", 0.2, eps=16 / 255)
    b = Audit(tmp_path / "b").cell("none", "pgd", 0.4, eps=8 / 255).cell("none", "pgd", 0.3, eps=16 / 255)
    b.cell("none", "pgd", 0.6, eps=1.0, norm="l2").cell("none", "deepfool", 0.0, eps=None, norm="l2")
    folders = [a.write(), b.write()]
    found = ranking(*folders)
    assert [board.pair.eps for board in found.boards] == pytest.approx([8 / 255, 16 / 255])
    assert (order(found), order(found, 1)) == ([("a", "none"), ("b", "none")], [("b", "none"), ("a", "none")])
    assert "Not ranked at eps = 1 (L2): the bare classifier of a was not attacked with it." in found.notes
    assert order(ranking(*folders, by=["16/255/linf"])) == [("b", "none"), ("a", "none")]
    with pytest.raises(OptionError, match=re.escape("bare classifier of a cannot be ranked at eps = 1 (L2)")):
        ranking(*folders, by=["1/l2"])
    for wrong in ("linf", "x/linf", "0.01/", "/linf"):
        with pytest.raises(OptionError, match="EPS/NORM"):
            ranking(*folders, by=[wrong])


def seeded(folder: Path, values: dict[int, float], model: str) -> list[Path]:
    return [
        Audit(folder / f"{model}-seed-{seed}", seed=seed, model=model).cell("none", "pgd", value).write()
        for seed, value in values.items()
    ]


def test_audits_that_differ_in_the_seed_alone_are_ranked_by_their_mean(tmp_path: Path) -> None:
    folders = [*seeded(tmp_path, {0: 0.50, 1: 0.54, 2: 0.58}, "calm"), *seeded(tmp_path, {0: 0.1, 1: 0.2}, "frail")]
    found = ranking(*folders)
    first, second = found.boards[0].standings
    assert (first.contender.name, second.contender.name) == ("calm", "frail")
    assert first.value == pytest.approx(0.54) and first.spread == pytest.approx(0.04)
    assert [each.audit.seed for each in first.seeds] == [0, 1, 2]
    assert "Not all were audited with as many seeds; the interval of a mean of few is wide." in found.boards[0].remarks
    page = write_leaderboard(tmp_path / "page.html", found).read_text(encoding="utf-8")
    assert "50.0 · 54.0 · 58.0" in page and "seeds 0, 1, 2, deviation 4.0%" in page
    result = salus("leaderboard", *folders)
    assert result.exit_code == 0 and "3 ±4.0" in result.output


def test_models_that_came_trained_are_no_seeds_of_one_another(tmp_path: Path) -> None:
    audits = [Audit(tmp_path / f"hard-seed-{seed}", seed=seed).cell("none", "pgd", 0.5) for seed in (0, 1)]
    for audit in audits:
        audit.meta["model"]["training"] = None
    assert len(ranking(*(audit.write() for audit in audits)).boards[0].standings) == 2
    for audit in audits:
        audit.meta["model"]["fingerprint"] = "ef" * 32  # one model, two draws of the samples
    assert len(ranking(*(audit.write() for audit in audits)).boards[0].standings) == 1


def test_the_same_audit_twice_stands_twice(tmp_path: Path) -> None:
    folders = [Audit(tmp_path / place / "run").cell("none", "pgd", 0.5).write() for place in ("x", "y")]
    assert [name for name, _ in order(ranking(*folders))] == ["x/run", "y/run"]
    assert len(ranking(folders[0], folders[0]).boards[0].standings) == 1, "one folder named twice is one audit"


def test_seeds_whose_samples_not_all_share_are_left_out_and_said(tmp_path: Path) -> None:
    audits = [Audit(tmp_path / f"{model}-{seed}", seed=seed, model=model).cell("none", "pgd", 0.5)
              for model, seed in (("a", 0), ("a", 1), ("b", 0))]  # fmt: skip
    audits[1].meta["data"]["fingerprint"] = "cd" * 32  # the seed deals the test part
    found = ranking(*(audit.write() for audit in audits))
    assert [len(each.seeds) for each in found.boards[0].standings] == [1, 1]
    assert found.notes == ("Left out, because not all were audited on their samples: a-1.",)


def test_an_attack_of_who_knows_less_that_leaves_less_is_said(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "a").cell("none", "pgd", 0.5)
    audit.cell("none", "hop-skip-jump", 0.2, threat="decision-only")
    found = ranking(audit.write())
    (sentence,) = found.boards[0].remarks
    assert "decision-only leaves only 20.0% right" in sentence and "gradients are likely masked" in sentence
    assert "another attacker (decision-only) leaves 20.0%" in write_leaderboard(tmp_path / "p.html", found).read_text()


def test_attacks_that_not_all_faced_and_cells_that_failed_are_said(tmp_path: Path) -> None:
    a = Audit(tmp_path / "a").cell("none", "pgd", 0.5, steps=40).cell("none", "fgsm", error="RuntimeError: no")
    b = Audit(tmp_path / "b").cell("none", "pgd", 0.4, steps=100)
    b.meta["threads"] = 2
    remarks = " ".join(ranking(a.write(), b.write()).boards[0].remarks)
    assert "PGD (steps=100) was not tried on a" in remarks and "PGD (steps=40) was not tried on b" in remarks
    assert "a: 1 cell failed" in remarks and "cpu, 1 thread; cpu, 2 threads" in remarks


def test_guards_that_nobody_attacked_are_not_ranked(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "a").cell("none", "pgd", 0.5).cell("idle").cell("near").cell("broken")
    audit.cell("broken", "pgd", error="RuntimeError: no")
    audit.cell("near", "deepfool", 0.0, eps=None)
    audit.cells[-1]["finds"] = "nearest"
    notes = " ".join(ranking(audit.write()).notes)
    assert "the guard 'idle' of a, which was not attacked" in notes and "'broken' of a, whose attacks failed" in notes
    assert "'near' of a, which was attacked by those alone that look for the smallest change" in notes
    alone = Audit(tmp_path / "b").write()
    with pytest.raises(OptionError, match="Nothing is left to rank"):
        ranking(alone)


@pytest.mark.parametrize("damage", ["{", "[]", '{"form": 99, "meta": {}, "cells": []}', "data", "seed", "rate"])
def test_damaged_results_are_refused_in_a_sentence(tmp_path: Path, damage: str) -> None:
    audit = Audit(tmp_path / "a").cell("none", "pgd", 0.5)
    if damage == "rate":
        audit.cells[1]["clean_accuracy"] = "much"
    else:
        audit.meta.pop(damage, None)
    folder = audit.write()
    if damage[0] in "{[":
        (folder / "results.json").write_text(damage)
    with pytest.raises(BundleError, match=r"results\.json"):
        ranking(folder)
    with pytest.raises(BundleError, match="holds no results"):
        ranking(tmp_path / "nowhere")


def test_a_fleet_stands_for_its_audits_and_its_index_ranks_what_can_be_ranked(tmp_path: Path) -> None:
    Audit(tmp_path / "calm-seed-0", model="calm").cell("none", "pgd", 0.5).write()
    other = Audit(tmp_path / "other").cell("none", "pgd", 0.4)
    other.meta["data"] |= {"name": "scans", "fingerprint": "cd" * 32}
    other.write()
    (tmp_path / "other" / "report.html").write_text("a report")
    members: list[dict[str, Any]] = [
        {"name": "calm-seed-0", "error": None, "cells": 2, "failed": 0},
        {"name": "other", "error": None, "cells": 2, "failed": 0},
        {"name": "gone", "error": f"Its data are {HOSTILE}.", "cells": None, "failed": None},
    ]
    (tmp_path / "fleet.json").write_text(json.dumps({"form": 1, "command": "salus audit", "members": members}))
    with pytest.raises(OptionError, match="other cannot be ranked beside calm-seed-0"):
        ranking(tmp_path)
    page = write_index(tmp_path).read_text(encoding="utf-8")
    assert "2 of 3 audits ended, 1 failed; 2 rankings" in page and HOSTILE not in page
    assert '<a href="other/report.html">other</a>' in page and "gone: Its data are &lt;script&gt;" in page
    check_page(page)
    members[0]["name"] = "../elsewhere"
    (tmp_path / "fleet.json").write_text(json.dumps({"form": 1, "command": "", "members": members}))
    with pytest.raises(BundleError, match="is no folder within it"):
        write_index(tmp_path)


def test_the_page_loads_nothing_escapes_names_and_is_the_same_to_the_byte(
    tmp_path: Path, two: tuple[Path, Path]
) -> None:
    hostile = Audit(tmp_path / "runs" / "a' onload=x", model=HOSTILE).cell("none", "pgd", 0.2, steps=40)
    hostile.cell("none", "fgsm", 0.3).cell(HOSTILE).cell(HOSTILE, "pgd", 0.1, steps=40).cell(HOSTILE, "fgsm", 0.2)
    folder = hostile.write()
    (folder / "report.html").write_text("a report")
    found = ranking(*two, folder)
    page = write_leaderboard(tmp_path / "page.html", found, command=f"salus {HOSTILE}").read_text(encoding="utf-8")
    assert HOSTILE not in page and 'href="runs/a%27%20onload%3Dx/report.html"' in page
    check_page(page)
    for standing in found.boards[0].standings:
        assert f"{100 * standing.value:.1f}%" in page
    again = write_leaderboard(tmp_path / "page.html", ranking(*two, folder), command=f"salus {HOSTILE}")
    assert again.read_text(encoding="utf-8") == page


def test_the_constant_answer_stands_among_the_ranked(tmp_path: Path, two: tuple[Path, Path]) -> None:
    page = write_leaderboard(tmp_path / "page.html", ranking(*two)).read_text(encoding="utf-8")
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = re.findall(r"<th scope=\"row\">(.*?)</th>", body, re.DOTALL)
    assert [re.sub(r"<.*", "", row).strip() for row in rows] == ["b", "b", "always &#39;N&#39;", "a", "a"]


def test_the_csv_holds_the_ranking_and_each_seed(tmp_path: Path) -> None:
    folders = [*seeded(tmp_path, {0: 0.5, 1: 0.6}, "calm"), *seeded(tmp_path, {0: 0.1}, "frail")]
    write_csv(tmp_path / "table.csv", [ranking(*folders)])
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["audit"], row["seed"], row["place_best"]) for row in rows] == [
        ("calm", "", "1"), ("calm", "0", ""), ("calm", "1", ""), ("frail-seed-0", "", "1"),
    ]  # fmt: skip
    assert float(rows[0]["robust_accuracy"]) == pytest.approx(0.55) and float(rows[2]["robust_accuracy"]) == 0.6
    assert rows[0]["threat_model"] == "white-box" and rows[0]["eps"] == "0.01" and rows[0]["norm"] == "linf"


def test_the_command_prints_and_writes_what_it_says(tmp_path: Path, two: tuple[Path, Path]) -> None:
    page, table = tmp_path / "out" / "page.html", tmp_path / "out" / "table.csv"
    result = salus("leaderboard", *two, "--by", "0.01/linf", "--page", page, "--csv", table)
    assert result.exit_code == 0, result.output
    assert page.is_file() and table.is_file() and f"Page: {page}" in result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[2][:3] == ["b", "1–2", "idef"] and "cannot be told apart" in result.output


_SHARES = st.floats(0, 1)


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    low, value, high = sorted(draw(st.tuples(_SHARES, _SHARES, _SHARES)))
    return Rate(value, low, high, 100)


@given(st.lists(rates(), min_size=1, max_size=8))
def test_places_hold_the_order_and_whoever_overlaps_is_tied(robust: list[Rate]) -> None:
    clean = Rate(1.0, 1.0, 1.0, 100)
    standings = ranked(
        [Standing(Contender(str(i), ()), "none", str(i), (), clean, rate, None) for i, rate in enumerate(robust)]
    )
    assert [each.value for each in standings] == sorted((each.value for each in standings), reverse=True)
    for place, each in enumerate(standings, 1):
        assert 1 <= each.best <= place <= each.last <= len(standings)
        for other in standings:
            apart = (each.robust.low or 0) > (other.robust.high or 0)
            assert not apart or (each.last < other.last and each.best < other.best)
            overlap = not apart and not (other.robust.low or 0) > (each.robust.high or 0)
            assert (other.name in each.tied) == (overlap and other is not each)


@given(st.lists(rates(), min_size=2, max_size=6))
def test_a_mean_over_seeds_lies_in_its_interval_which_no_seeds_own_is_wider_than(each: list[Rate]) -> None:
    mean = mean_over_seeds(each)
    values = [rate.value or 0.0 for rate in each]
    assert mean.value is not None and mean.low is not None and mean.high is not None
    assert mean.value == pytest.approx(sum(values) / len(values)) and 0 <= mean.low <= mean.value <= mean.high <= 1
    own = sum((rate.value or 0.0) - (rate.low or 0.0) for rate in each) / len(each)
    assert mean.value - mean.low >= min(own, mean.value) - 1e-9
    assert mean_over_seeds(each[:1]) is each[0]


def check_page(page: str) -> None:
    """Nothing is loaded, nothing runs, and links within the page lead somewhere."""
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    Reader().feed(page)
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
        assert not any(name.startswith("on") for name in attrs)
        target = attrs.get("href") or ""
        assert ":" not in target and (not target.startswith("#") or target[1:] in ids)


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])
