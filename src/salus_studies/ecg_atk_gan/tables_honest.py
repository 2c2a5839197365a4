"""The tables of attacks at full strength, from stored results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from salus.metrics.wording import NOTHING, number, percent, present, rate
from salus_studies.ecg_atk_gan.naming import NAMES, attack_name, honest_place, network_name, trained_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, CLASSES
from salus_studies.frame.markdown import Record, done, markdown, not_run


def macro_f1(confusion: Mapping[str, Any]) -> float | None:
    """Mean F1 of the classes that occur, from a stored confusion matrix; rejected inputs are missed."""
    matrix = np.array(confusion["matrix"], float)
    truth, answers = matrix.sum(1) + np.array(confusion["rejected"], float), matrix.sum(0)
    occurring = truth + answers > 0
    if not occurring.any():
        return None
    return float((2 * matrix.diagonal()[occurring] / (truth + answers)[occurring]).mean())


def bare(results: Record, split: str) -> list[Record]:
    """Honest records of bare networks, those trained on clean beats first, in the order of the papers."""
    rows = [
        row for row in results.get("honest") or () if row.get("split") == split and row.get("guard") in (None, "none")
    ]
    return sorted(rows, key=honest_place)


def guarded(results: Record, split: str) -> list[Record]:
    """Honest records of networks behind their attacked/clean head, in the same order."""
    rows = [
        row
        for row in results.get("honest") or ()
        if row.get("split") == split and row.get("guard") not in (None, "none")
    ]
    return sorted(rows, key=honest_place)


def honest_table(results: Record, split: str) -> str:
    """Bare networks under attacks at full strength."""
    stored = bare(results, split)
    rows = []
    for row in stored:
        whose = [network_name(row), trained_name(row["trained_on"]), attack_name(row)]
        radius = number(row.get("eps"))
        if not done(row):
            rows.append([*whose, radius, NOTHING, not_run(row), *[NOTHING] * 3])
            continue
        f1 = macro_f1(row["confusion"]) if row.get("confusion") else None
        figures = [rate(row, "clean_accuracy"), rate(row, "robust_accuracy"), percent(f1)]
        rows.append([*whose, radius, f"{row['n']:,}", *figures, number(row.get("distance_median"))])
    for name in ARCHITECTURES:
        if not any(row["architecture"] == name for row in stored):
            rows.append([NAMES[name], *[NOTHING] * 4, not_run(None), *[NOTHING] * 3])
    return markdown(
        [
            "architecture",
            "trained on",
            "attack",
            "eps",
            "beats",
            "clean accuracy (95%)",
            "robust accuracy (95%)",
            "macro-F1",
            "median distance",
        ],
        rows,
        left=3,
    )


def honest_classes_table(results: Record, split: str) -> str:
    """Sensitivity of each class under the honest attacks."""
    rows = []
    for row in bare(results, split):
        if not done(row):
            continue  # said in the table above
        by_class = {figures["class"]: figures for figures in row.get("per_class") or ()}
        trained = f"{NAMES.get(row['architecture'], row['architecture'])}, trained on {trained_name(row['trained_on'])}"
        attacked = attack_name(row) + (f", eps {row['eps']:g}" if present(row.get("eps")) else "")
        rows.append([trained, attacked, *(rate(by_class.get(name, {}), "sensitivity") for name in CLASSES)])
    return markdown(["network", "attack", *CLASSES], rows or [["all", not_run(None), *[NOTHING] * 4]], 2)


def head_table(results: Record, split: str) -> str:
    """The head that tells attacked from clean beats, as the only defence."""
    rows = []
    for row in guarded(results, split):
        radius = f", eps {row['eps']:g}" if present(row.get("eps")) else ""
        whose = [
            network_name(row),
            trained_name(row["trained_on"]),
            attack_name(row) + radius,
            row.get("threat_model") or NOTHING,
        ]
        if not done(row):
            rows.append([*whose, not_run(row), *[NOTHING] * 4])
            continue
        names = ("rejected_clean", "rejected_adversarial", "detection_auc", "robust_accuracy")
        rows.append([*whose, f"{row['n']:,}", *(rate(row, name) for name in names)])
    return markdown(
        [
            "architecture",
            "trained on",
            "attack",
            "attacker",
            "beats",
            "clean rejected",
            "attacked rejected",
            "detection AUC",
            "robust accuracy",
        ],
        rows or [[NAMES["proposed"], NOTHING, NOTHING, NOTHING, not_run(None), *[NOTHING] * 4]],
        left=4,
    )
