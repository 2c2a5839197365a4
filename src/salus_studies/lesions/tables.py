"""The tables of docs/imaging.md."""

from __future__ import annotations

from salus.metrics.wording import NOTHING, estimate, percent, rate
from salus_studies.frame.markdown import Record, find, markdown
from salus_studies.lesions.measured import (
    DEFENCES,
    bare,
    health,
    missed,
    poisonings,
    thresholds,
    under,
    verdict,
)

ATTACKS = {
    "none": "as they are",
    "fgsm": "FGSM, by 2 of 255",
    "pgd": "PGD, by 2 of 255",
    "uap": "UAP, one pattern for all",
}


def harm_table(results: Record) -> str:
    """Tabulate what the plain classifier answers, as it is and under each attack."""
    rows = []
    for name, words in ATTACKS.items():
        record = bare(results, name)
        if record is None:
            rows.append([words, "not run", "", "", ""])
            continue
        figures = health(record)
        alarms = percent(figures["alarmed"] / max(figures["healthy"], 1))
        rows.append([words, str(record["n"]), rate(record["figures"], "accuracy"), _missed(figures), alarms])
    return markdown(["", "lesions", "right, %", "malignant missed, %", "harmless called malignant, %"], rows)


def defences_table(results: Record) -> str:
    """Tabulate what each defence leaves, and whether it holds."""
    rows = []
    for name, words in DEFENCES.items():
        rows.append(
            [
                words,
                _right(under(results, name, "none")),
                _missed(missed(results, name, "none")),
                NOTHING if name in ("none", "hardened") else _missed(missed(results, name, "copy")),
                _missed(missed(results, name, "knows")),
                _right(under(results, name, "knows")),
                NOTHING if name == "none" else verdict(results, name),
            ]
        )
    header = [
        "defence",
        "right, no attack, %",
        "missed, no attack, %",
        "missed, attacker with an old copy, %",
        "missed, attacker who knows, %",
        "right, attacker who knows, %",
        "helps",
    ]
    return markdown(header, rows)


def thresholds_table(results: Record) -> str:
    """Tabulate what the attacker makes a model miss at each threshold."""
    rows = []
    for name, records in thresholds(results).items():
        for row in records:
            times = NOTHING if not row["fnr"] else f"{row['fnr_attacked'] / row['fnr']:.1f}"
            rows.append([name, rate(row, "fnr"), rate(row, "fnr_attacked"), times, rate(row, "specificity")])
    header = ["model", "malignant missed, %", "under attack, %", "times", "harmless not referred, no attack, %"]
    return markdown(header, rows)


def labels_table(results: Record, plain: Record) -> str:
    """Tabulate what wrong labels do, and what is left of it once they are looked for.

    Args:
        results: what is stored.
        plain: the classifier that learnt from right labels.
    """
    rows = [["0", rate(plain["figures"], "accuracy"), _missed(health(plain)), *[NOTHING] * 3]]
    trainings = poisonings(results)
    for row in trainings:
        if row["model"] != "poisoned":
            continue
        cleaned = find(trainings, share=row["share"], model="cleaned")
        after = [NOTHING] * 3
        if cleaned is not None:
            after = [rate(cleaned["figures"], "accuracy"), percent(cleaned["recall"]), percent(cleaned["precision"])]
        rows.append([f"{row['share']:.0%}", rate(row["figures"], "accuracy"), _missed(health(row)), *after])
    header = [
        "of NV mislabelled",
        "right, %",
        "malignant missed, %",
        "right once cleaned, %",
        "wrong labels found, %",
        "of the finds wrong, %",
    ]
    return markdown(header, rows)


def _right(record: Record | None) -> str:
    return "not run" if record is None else rate(record["figures"], "accuracy")


def _missed(figures: Record | None) -> str:
    if figures is None:
        return "not run"
    return estimate(figures["fnr"], figures.get("fnr_low"), figures.get("fnr_high"))
