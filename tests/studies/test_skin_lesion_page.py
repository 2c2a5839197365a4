"""What the skin-lesion page computes from stored answers: baselines, paired differences, claims and sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from salus.metrics import thesis_figures
from salus_studies.frame.results import Results
from salus_studies.skin_lesion import (
    baselines,
    claims,
    published,
    research,
    sentences,
    tables,
    tables_attacks,
    tables_defences,
    tables_poisoning,
)
from salus_studies.skin_lesion.cells import COPY, KNOWS, Case
from salus_studies.skin_lesion.measured import spelled
from salus_studies.skin_lesion.page import page
from salus_studies.skin_lesion.paired import Resampled, difference, spread, worst_of
from salus_studies.skin_lesion.protocol import _settings
from salus_studies.skin_lesion.scales import SCALES

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
SHARES = (0.12, 0.66, 0.06, 0.04, 0.09, 0.015, 0.015)
TRUTH = np.repeat(np.arange(7), [round(400 * share) for share in SHARES])
LESIONS = np.arange(len(TRUTH)) // 2


Labels = np.ndarray[Any, Any]


def answers(right: float, seed: int, *, instead: int = 1) -> Labels:
    """Answers of which so many are right, the others all of one class."""
    hit = np.random.default_rng(seed).random(len(TRUTH)) < right
    return np.where(hit, TRUTH, np.where(instead == TRUTH, (instead + 3) % 7, instead))


def record(network: str, case: Case, labels: Labels, rows: list[int] | None = None) -> dict[str, Any]:
    """A cell as a run stores it."""
    chosen = np.arange(len(TRUTH)) if rows is None else np.array(rows)
    given = np.asarray(labels)[chosen]
    figures = thesis_figures(TRUTH[chosen], given, CLASSES, published.POSITIVE, groups=LESIONS[chosen])
    text = "".join(str(label) for label in given)
    facts = {"status": "done", "figures": figures, "n": len(chosen), "answers": text, "rows": rows, "eps": 2 / 255}
    return {"network": network, **case.record(), **facts}


def values(cells: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What a run stores."""
    meta = {
        "scale": "small",
        "classes": list(CLASSES),
        "truth": "".join(map(str, TRUTH)),
        "lesions": LESIONS.tolist(),
        "split": "lesions",
        "counts": {part: dict(zip(CLASSES, np.bincount(TRUTH).tolist(), strict=True)) for part in ("train", "test")},
        "settings": _settings(SCALES["small"]),
    }
    return {"meta": meta, "cells": cells, **more}


def both(case: Case, right: float, seed: int, **more: Any) -> list[dict[str, Any]]:
    return [record(network, case, answers(right, seed, **more)) for network in published.NETWORKS]


# Baselines.


@pytest.mark.parametrize("health_map", ["thesis", "medical"])
def test_a_baseline_s_figures_are_those_of_its_answers(health_map: str) -> None:
    counts = dict(zip(CLASSES, np.bincount(TRUTH).tolist(), strict=True))
    constant = record("resnet50", Case("plain"), np.ones_like(TRUTH))
    for figure in ("accuracy", "recall", "specificity", "fooling", "health_accuracy", "health_sensitivity", "fnr"):
        told = spelled(constant, figure, health_map)
        assert told is not None
        assert baselines.scores(counts, "always", figure, health_map) == pytest.approx(told[0]), figure
    many = np.tile(TRUTH, 40)
    guesses = np.random.default_rng(0).integers(7, size=len(many))
    drawn = thesis_figures(many, guesses, CLASSES, published.POSITIVE)
    assert baselines.scores(counts, "chance", "accuracy") == pytest.approx(drawn["accuracy"], abs=0.02)
    assert baselines.scores(counts, "chance", "recall") == pytest.approx(drawn["macro_recall"], abs=0.02)
    for figure, name in (("fnr", "fnr"), ("health_accuracy", "accuracy"), ("npv", "npv")):
        found = baselines.scores(counts, "chance", figure, health_map)
        assert found == pytest.approx(drawn["health"][health_map][name], abs=0.02)


def test_every_table_of_figures_has_what_no_look_at_the_images_scores() -> None:
    cells = [*both(Case("plain"), 0.8, 0), *both(Case("plain", None, "fgsm", KNOWS), 0.3, 1)]
    told = values(cells)
    for experiment in published.EXPERIMENTS:
        for table in (tables.performance_table, tables.health_table):
            text = table(told, experiment)
            assert "| always NV" in text and "| chance" in text
    for build in (
        tables_attacks.strong_table, tables_attacks.harm_table, tables_attacks.resolution_table,
        tables_defences.defences_table, tables_defences.control_table, tables_defences.webp_table,
    ):  # fmt: skip
        assert "| always NV" in build(told) and "| chance" in build(told), build.__name__


# Differences over resampled lesions.


def test_figures_of_no_resample_are_the_stored_ones() -> None:
    one = record("resnet50", Case("plain"), answers(0.7, 0))
    part = record("resnet50", Case("plain"), answers(0.7, 0), rows=list(range(0, len(TRUTH), 3)))
    images = Resampled.of(values([one]))
    assert images is not None
    for each in (one, part):
        for figure in ("accuracy", "recall", "specificity", "health_accuracy", "health_sensitivity", "fnr", "npv"):
            for health_map in ("thesis", "medical"):
                found, told = images.figure(each, figure, health_map), spelled(each, figure, health_map)
                assert found is not None and told is not None
                assert found[0] == pytest.approx(100 * (told[0] or 0.0)), (figure, health_map)


def test_an_interval_of_one_figure_agrees_with_the_stored_one() -> None:
    one = record("resnet50", Case("plain"), answers(0.7, 0))
    images = Resampled.of(values([one]))
    assert images is not None
    found = images.figure(one, "accuracy")
    assert found is not None
    interval, figures = spread(found), one["figures"]
    assert interval.low == pytest.approx(100 * figures["accuracy_low"], abs=1.0)
    assert interval.high == pytest.approx(100 * figures["accuracy_high"], abs=1.0)


def test_the_same_answers_differ_by_nothing_and_others_by_more_than_chance_or_not() -> None:
    base = answers(0.7, 0)
    few, many = base.copy(), base.copy()
    wrong = np.flatnonzero(base != TRUTH)
    few[wrong[:3]] = TRUTH[wrong[:3]]
    many[wrong[:60]] = TRUTH[wrong[:60]]
    plain, little, much = (record("resnet50", Case("plain"), labels) for labels in (base, few, many))
    images = Resampled.of(values([plain]))
    same, slight, clear = (difference(images, each, plain, "accuracy") for each in (plain, little, much))
    assert same is not None and (same.value, same.low, same.high, same.word) == (0, 0, 0, "undecided")
    assert slight is not None and clear is not None and clear.word == "more" and clear.low > 0
    assert clear.low > slight.low
    assert difference(images, record("resnet50", Case("plain"), base, rows=[0, 1]), plain, "accuracy") is None


def test_the_worse_of_two_attacks_is_wrong_where_either_is() -> None:
    one, other = ({"status": "done", "answers": text, "rows": [3, 4, 5]} for text in ("010", "012"))
    assert worst_of([one, other], "010") == "012" and worst_of([other, one], "112") == "010"
    assert worst_of([one, {**other, "rows": [1, 2, 3]}], "010") is None and worst_of([one, None], "010") is None


# Claims.


def test_a_sentence_is_confirmed_contradicted_or_left_open_by_intervals() -> None:
    halves = next(claim for claim in claims.CLAIMS if "dropped from around 80%" in claim.sentence)
    clean = both(Case("plain"), 0.8, 0)
    for left, word in ((0.1, claims.CONFIRMED), (0.7, claims.CONTRADICTED), (0.4, claims.UNDECIDED)):
        attacked = both(Case("plain", None, "fgsm", KNOWS), left, 1)
        assert halves.by_ours(values([*clean, *attacked]), "thesis")[0] == word, left
    assert halves.by_ours(values(clean), "thesis") == (claims.NO_NUMBERS, "")


def test_a_sentence_on_two_networks_is_tried_on_the_one_that_was_run() -> None:
    halves = next(claim for claim in claims.CLAIMS if "dropped from around 80%" in claim.sentence)
    cells = [*both(Case("plain"), 0.8, 0), *both(Case("plain", None, "fgsm", KNOWS), 0.1, 1)]
    told = values([row for row in cells if row["network"] == "resnet50"])
    word, numbers = halves.by_ours(told, "thesis")
    assert word == claims.CONFIRMED and "Inception" not in numbers and "ResNet 50" in numbers
    assert claims.alone(told) == " on ResNet 50 alone" and claims.alone(values(cells)) == ""
    assert any("By ours on ResNet 50 alone" in line for line in sentences.tried(told))


def test_how_good_the_thesis_s_networks_are_cannot_be_told_from_others() -> None:
    good = next(claim for claim in claims.CLAIMS if claim.absolute)
    word, numbers = good.by_ours(values(both(Case("plain"), 0.95, 0)), "thesis")
    assert word == claims.BEYOND and "→" not in numbers and numbers
    own = values(both(Case("plain"), 0.95, 0))
    for name, spec in own["meta"]["settings"]["networks"].items():
        own["meta"]["settings"]["networks"][name] = {**spec, "architecture": name}
    assert good.by_ours(own, "thesis")[0] == claims.CONFIRMED


def test_health_maps_may_decide_what_becomes_of_a_sentence() -> None:
    misses = next(claim for claim in claims.CLAIMS if claim.sentence.startswith("The FNR is high"))
    clean = both(Case("plain"), 1.0, 0)
    # Every NV is called BKL and no malignant lesion is missed: by the thesis's map disease, by the other none.
    moved = [record(n, Case("plain", None, "fgsm", KNOWS), np.where(TRUTH == 1, 4, TRUTH)) for n in published.NETWORKS]
    told = values([*clean, *moved])
    assert misses.by_ours(told, "thesis")[0] == claims.CONFIRMED
    assert misses.by_ours(told, "medical")[0] == claims.UNDECIDED, "nothing changed"


# Sentences that compare two numbers.


def test_what_a_network_has_learnt_is_told_beside_the_constant() -> None:
    above, below = (values(both(Case("plain"), right, 0)) for right in (0.9, 0.3))
    assert all("above always NV" in line and "reached" in line for line in sentences.learnt(above))
    assert all("no better than always NV" in line and "not reached" in line for line in sentences.learnt(below))
    auc = values([], thresholds=[{"model": "plain", "status": "done", "rows": [], "auc": 0.91}])
    assert "0.910 (asked for: 0.90, reached)" in sentences.learnt(auc)[0]


def test_the_attacker_who_wants_harm_is_compared_with_the_other() -> None:
    cells = [
        *both(Case("plain"), 0.9, 0),
        *both(Case("plain", None, "pgd", KNOWS), 0.4, 1),
        *both(Case("plain", None, "pgd-harm", KNOWS), 0.1, 2),
    ]
    (line,) = sentences.harm(values(cells))
    assert "under PGD that wants that, more than the" in line
    cells[-2:] = both(Case("plain", None, "pgd-harm", KNOWS), 0.6, 2)
    (line,) = sentences.harm(values(cells))
    assert "no more than the" in line


def test_retraining_is_held_against_its_control() -> None:
    def told(retrained: float, control: float) -> str:
        cells = [
            *both(Case("plain"), 0.9, 0),
            *both(Case("retrained-fgsm", None, "fgsm", COPY), retrained, 1),
            *both(Case("retrained-clean", None, "fgsm", COPY), control, 2),
        ]
        return "\n".join(sentences.control(values(cells)))

    assert "more than its control" in told(0.9, 0.4)
    assert "less than its control in part" in told(0.4, 0.9)
    assert "nothing certain" in told(0.7, 0.7)
    assert tables_defences.gains_table(values([])).count("not run") == 1


def test_the_hardened_network_is_judged_by_recall_under_every_attack() -> None:
    def told(under_pgd: float, under_ensemble: float) -> str:
        cells = [
            *both(Case("hardened"), 0.7, 0),
            *both(Case("hardened", None, "pgd", KNOWS), under_pgd, 1),
            *both(Case("hardened", None, "auto-attack", KNOWS), under_ensemble, 2),
        ]
        return " ".join(sentences.hardened(values(cells)))

    assert told(0.5, 0.5).endswith(": met.") and told(0.5, 0.1).endswith(": not met.")
    always = [record("resnet50", Case("hardened"), np.ones_like(TRUTH)),
              record("resnet50", Case("hardened", None, "pgd", KNOWS), np.ones_like(TRUTH)),
              record("resnet50", Case("hardened", None, "auto-attack", KNOWS), np.ones_like(TRUTH))]  # fmt: skip
    (line,) = sentences.hardened(values(always))
    assert line.endswith(": not met."), "always NV is right 66% of the time, and robust to everything"


def test_webp_is_counted_by_the_worse_of_both_attackers_for_each_image() -> None:
    rows = list(range(0, len(TRUTH), 2))
    first, second = answers(0.6, 1), answers(0.6, 2)
    cells = [
        record("resnet50", Case("plain", "webp-50"), answers(0.9, 0), rows),
        record("resnet50", Case("plain", "webp-50", "pgd", KNOWS), first, rows),
        record("resnet50", Case("plain", "webp-50", "pgd-eot", KNOWS), second, rows),
    ]
    worst = tables_defences.webp(values(cells))[50]["the worse of the two for each image"]
    assert worst is not None
    expected = ((first == TRUTH) & (second == TRUTH))[rows].mean()
    assert worst["figures"]["accuracy"] == pytest.approx(expected)
    (line,) = sentences.purified(values(cells))
    assert "None keeps half of its recall." in line and f"for each of {len(rows)} images" in line
    cells[1:] = [
        record("resnet50", Case("plain", "webp-50", attack, KNOWS), answers(0.85, 3), rows)
        for attack in ("pgd", "pgd-eot")
    ]
    (line,) = sentences.purified(values(cells))
    assert "puts the attack in doubt" in line


def head(share: float, labels: str, accuracy: float, aim: float, **more: Any) -> dict[str, Any]:
    shared = {"network": "resnet50", "way": "features", "weighting": "none", "seed": 0, "status": "done"}
    figures = {"accuracy": accuracy, "macro_recall": 0.5, "macro_specificity": 0.9, "fnr": 0.3, "aim": aim}
    return {**shared, "share": share, "labels": labels, **figures, **more}


def test_flips_are_told_with_their_spread_and_what_cleaning_gains() -> None:
    rows = [
        head(0, "right", 0.72, 0.05),
        head(0.2, "poisoned", 0.60, 0.20),
        head(0.2, "poisoned", 0.64, 0.30, seed=1),
        head(0.2, "cleaned", 0.70, 0.10, found=0.8, precision=0.5),
        head(0.2, "poisoned", 0.66, 0.24, way="network"),
    ]
    told = values([], poisoning=rows)
    line, whole = sentences.poisoning(told)
    assert "20%: accuracy −10.0 points, NV answered BKL 5.0% → 25.0%" in line
    assert "cleaned, 80% of the flips found, 50% of the finds flips, accuracy +8.0 points" in line
    assert whole.endswith("whole network against last layer alone: 20%: 24.0% against 25.0%.")
    assert "| 62.0 (60.0 to 64.0) |" in tables_poisoning.poisoning_table(told)


def test_universal_curves_and_sizes_are_told_from_what_is_stored() -> None:
    sweep = [
        {"network": "resnet50", "status": "done", "eps": 8 / 255, "fooling_rate": 0.7, "accuracy": 0.2,
         "macro_recall": 0.2, "fnr": 0.9, "answered": [0, 90, 0, 0, 10, 0, 0], "images": 300, "chosen": True},
        {"network": "resnet50", "status": "not run", "eps": 12 / 255, "reason": "no time left"},
    ]  # fmt: skip
    told = values(both(Case("plain", None, "uap", KNOWS), 0.2, 1), sweep=sweep)
    table = tables_attacks.curve_table(told)
    assert "| 90.0 | 100.0 | chosen |" in table and "not run: no time left" in table
    lines = sentences.universal(told)
    assert "8/255, 70.0% of answers" in lines[2] and "of all answers are of one class" in lines[2]
    rows = []
    for size, right in (("64x85", 0.5), ("96x128", 0.3)):
        for attack, share in (("none", 0.9), ("fgsm", right)):
            one = record("resnet50", Case("plain", None, attack, KNOWS), answers(share, 5))
            rows.append({**one, "size": size, "attack": attack})
    (line,) = sentences.resolution(values([], resolution=rows))
    assert "64x85 px" in line and "96x128 px" in line


def test_the_research_questions_are_answered_by_recall() -> None:
    cells = [
        *both(Case("plain"), 0.9, 0),
        *both(Case("plain", None, "fgsm", KNOWS), 0.05, 1),
        *both(Case("plain", None, "uap", KNOWS), 0.5, 2),
        *both(Case("plain", "low-level", "fgsm", COPY), 0.88, 3),
        *both(Case("plain", "low-level", "fgsm", KNOWS), 0.2, 4),
    ]
    first, second, third = research.answers(values(cells))
    assert "FGSM leaves no more than always NV has" in first
    assert "against an attacker with a copy yes" in second and "against one who knows the defence no" in second
    assert third.endswith("not run: what would answer it is not in the stored results.\n")


def test_a_page_of_a_few_cells_draws_and_tells_what_there_is() -> None:
    cells = [*both(Case("plain"), 0.9, 0), *both(Case("plain", None, "fgsm", KNOWS), 0.2, 1)]
    counts = {
        part: dict(zip(CLASSES, np.bincount(TRUTH).tolist(), strict=True)) for part in ("train", "validation", "test")
    }
    told = values(cells)
    told["meta"]["counts"] = counts
    made = page(Results(told), "x")
    assert {"classes", "confusion-resnet50", "recap-fgsm"} <= set(made.pictures)
    assert "EfficientNet-Lite0 for ResNet 50, ours" in made.text and "nan" not in made.text.lower().split()
    for name in ("classes", "confusion-resnet50"):
        assert len(made.pictures[name].draw()) > 5000
