"""The tables of docs/imaging.md."""

from __future__ import annotations

from collections.abc import Sequence

from salus.metrics.wording import NOTHING, estimate, percent, rate
from salus_studies.frame.markdown import Record, markdown
from salus_studies.lesions.measured import (
    DEFENCES,
    FLOOR,
    bare,
    health,
    missed,
    poisonings,
    recall,
    thresholds,
    under,
    verdict,
)
from salus_studies.skin_lesion.tables_attacks import alarmed

ATTACKS = {
    "none": "as they are",
    "pgd": "PGD, any wrong answer wanted",
    "pgd-harm": "PGD, the malignant to be missed and the harmless to be alarmed",
    "uap": "one pattern for all, any wrong answer",
    "uap-benign": "one pattern for all, “harmless” wanted",
}


def harm_table(results: Record) -> str:
    """Tabulate what the plain classifier answers, as it is and under each attack."""
    rows, absent = [], []
    for name, words in ATTACKS.items():
        record = bare(results, name)
        if record is None:
            absent.append(words)
            continue
        figures = health(record)
        missing = "not stored" if recall(record) is None else rate(record["figures"], "macro_recall")
        rows.append(
            [
                words,
                str(record["n"]),
                _missed(figures),
                percent(alarmed(figures)),
                missing,
                rate(record["figures"], "accuracy"),
            ]
        )
    rows.append(
        ["no look at the picture, always “mole”", "", percent(1.0), percent(0.0), percent(FLOOR), _moles(results)]
    )
    header = ["", "lesions", "malignant missed, %", "harmless called malignant, %", "recall, %", "right, %"]
    return markdown(header, rows) + _not_run(absent)


def _not_run(names: Sequence[str]) -> str:
    """Name what has no line in a table."""
    return f"\nNot run: {'; '.join(names)}.\n" if names else ""


def _moles(results: Record) -> str:
    """Write how often the constant answer is right; nothing where the classes were not counted."""
    counts = results["meta"].get("counts")
    return percent(counts["NV"] / sum(counts.values())) if counts else "not stored"


def defences_table(results: Record) -> str:
    """Tabulate what each defence leaves, and whether it holds."""
    rows, absent = [], []
    for name, (words, *_) in DEFENCES.items():
        attacked = under(results, name, "any")
        if attacked is None and under(results, name, "none") is None:
            absent.append(words)
            continue
        rows.append(
            [
                words,
                "" if attacked is None else str(attacked["n"]),
                _recall(under(results, name, "none")),
                _missed(missed(results, name, "none")),
                _recall(attacked),
                _missed(missed(results, name, "any")),
                _missed(missed(results, name, "harm")),
                NOTHING if name == "none" else verdict(results, name),
            ]
        )
    header = [
        "defence",
        "lesions attacked",
        "recall, %",
        "missed, %",
        "recall, attacked, %",
        "missed, attacked, %",
        "missed, attacker wants that, %",
        "helps",
    ]
    return markdown(header, rows) + _not_run(absent)


def thresholds_table(results: Record) -> str:
    """Tabulate what the attacker makes the hardened model miss at each threshold."""
    rows = []
    for row in thresholds(results).get("hardened", ()):
        times = NOTHING if not row["fnr"] else f"{row['fnr_attacked'] / row['fnr']:.1f}"
        rows.append([rate(row, "fnr"), rate(row, "fnr_attacked"), times, rate(row, "specificity")])
    if not rows:
        rows.append(["not run", "", "", ""])
    return markdown(["malignant missed, %", "under attack, %", "times", "harmless not referred, no attack, %"], rows)


def labels_table(results: Record) -> str:
    """Tabulate what wrong labels do, and what is left of it once they are looked for."""
    rows, trainings = [], poisonings(results)
    way = "features" if any(row.get("way") == "features" for row in trainings) else "network"
    trainings = [row for row in trainings if row.get("way") == way]
    for share in sorted({row["share"] for row in trainings}):
        flipped = [row for row in trainings if row["share"] == share and row["labels"] in ("poisoned", "right")]
        cleaned = [row for row in trainings if row["share"] == share and row["labels"] == "cleaned"]
        figures = [_mean(flipped, name) for name in ("accuracy", "aim", "fnr")]
        rows.append([f"{share:.0%}", *figures, *(_mean(cleaned, name) for name in ("accuracy", "found", "precision"))])
    header = [
        "of moles mislabelled",
        "right, %",
        "moles called keratoses, %",
        "malignant missed, %",
        "right once cleaned, %",
        "wrong labels found, %",
        "of the finds wrong, %",
    ]
    return markdown(header, rows)


def _mean(rows: Sequence[Record], name: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return percent(sum(values) / len(values)) if values else NOTHING


def _recall(record: Record | None) -> str:
    if record is None:
        return "not run"
    return "not stored" if recall(record) is None else rate(record["figures"], "macro_recall")


def _missed(figures: Record | None) -> str:
    if figures is None:
        return "not run"
    return estimate(figures.get("fnr"), figures.get("fnr_low"), figures.get("fnr_high"))
