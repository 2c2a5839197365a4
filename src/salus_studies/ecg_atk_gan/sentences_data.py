"""Sentences on how much was done and on what data, computed from stored results."""

from __future__ import annotations

import numpy as np

from salus.metrics.wording import percent, present
from salus_studies.ecg_atk_gan.naming import COLUMNS, SPLITS
from salus_studies.ecg_atk_gan.published import CLASSES, COUNTS_AS_THE_TEXT_HAS_THEM, SIX, TRAINING
from salus_studies.ecg_atk_gan.sentences_published import cells_of
from salus_studies.ecg_atk_gan.tables_honest import bare
from salus_studies.frame.markdown import Record, done, listed


def smaller(meta: Record) -> str:
    """Say which settings of this run fall short of the six-attack paper's."""
    settings, paper = meta.get("settings") or {}, TRAINING[SIX]
    tested = sum(COUNTS_AS_THE_TEXT_HAS_THEM.test.values())
    of_paper = {
        "epochs": ("epochs", paper.epochs),
        "per_class": ("beats a class", paper.beats_per_class),
        "folds_trained": ("folds", paper.folds),
        "test_beats": ("test beats", tested),
    }
    less = [
        f"{settings[key]:,} of {theirs:,} {name}"
        for key, (name, theirs) in of_paper.items()
        if theirs is not None and present(settings.get(key)) and settings[key] < theirs
    ]
    if not settings:
        return "The settings of this run: not stored."
    if not less:
        return "This run has the six-attack paper's epochs, beats, folds and test beats, or more."
    return f"This run is smaller than the six-attack paper's: {listed(less)}. Differences may be of that making."


def prevalence(results: Record) -> list[str]:
    """Say what always answering the commonest class would score."""
    lines = []
    for split in SPLITS:
        rows = [
            cell for column in COLUMNS for cell in cells_of(results, split, column).values() if cell.get("confusion")
        ]
        rows += [row for row in bare(results, split) if done(row) and row.get("confusion")]
        if not rows:
            continue
        confusion = rows[0]["confusion"]
        counts = np.array(confusion["matrix"]).sum(1) + np.array(confusion["rejected"])  # [K]
        most, share = CLASSES[int(counts.argmax())], float(counts.max() / counts.sum())
        theirs, f1 = 1 - (1 - share) * 2 / len(CLASSES), 2 * share / (1 + share) / int((counts > 0).sum())
        lines.append(
            f"Always answering {most} is right on {percent(share)}% of the test beats split {SPLITS[split]}, which the "
            f"papers' way of counting turns into {percent(theirs)}%; its macro-F1 is {percent(f1)}."
        )
    return lines


def few_patients(results: Record) -> list[str]:
    """Name classes that few patients carry."""
    lines = []
    for split in SPLITS:
        rows = [cell for column in COLUMNS for cell in cells_of(results, split, column).values()]
        rows += [row for row in bare(results, split) if done(row)]
        classes = next(
            (row["per_class"] for row in rows if any(present(of.get("patients")) for of in row.get("per_class") or ())),
            (),
        )
        few = [
            f"{of['class']}, of whose {of['n']:,} test beats one patient of {of['patients']} supplies "
            f"{percent(of['largest_patient_share'])}%"
            for of in classes
            if present(of.get("largest_patient_share")) and of["largest_patient_share"] > 0.5
        ]
        if few:
            lines.append(f"Split {SPLITS[split]}, little can be said of {listed(few)}.")
    return lines


def honest_beats(meta: Record) -> str:
    """Say which test beats the honest protocol attacks, and how they are counted."""
    settings = meta.get("settings") or {}
    if "honest_beats" not in settings:
        return "Which test beats are attacked: not stored."
    whole = listed(list(settings.get("honest_whole") or ()))
    most = settings["honest_beats"]
    if most is None:
        return "All test beats are attacked."
    return (
        f"Of each class {most:,} test beats are attacked at most{f', of {whole} all' if whole else ''}; what asks "
        f"thousands of queries gets {settings.get('query_beats')} of each. Accuracy, robust accuracy and macro-F1 are "
        "weighted to the prevalence of the whole test part; sensitivities need no weights, and shares that a head "
        "rejects are of the beats that were drawn."
    )
