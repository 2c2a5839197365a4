"""Sentences about ECG-ATK-GAN's tables that are computed from stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from salus.metrics.wording import number, percent, present, rate, signed
from salus_studies.ecg_atk_gan import tables
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    CLASSES,
    COUNTS_AS_THE_TEXT_HAS_THEM,
    SIX,
    TRAINING,
    classification,
)
from salus_studies.ecg_atk_gan.tables import (
    COLUMNS,
    NAMES,
    SPLITS,
    attack_name,
    column_name,
    trained_name,
)
from salus_studies.frame.markdown import NOT_STORED, Record, done, find, not_run

#: A column counts as reached from this many points under the six-attack paper's accuracy upwards.
CLOSE = 1.5

#: From this rank correlation upwards one thing explains the order of another, or a part of it.
_EXPLAINS, _PARTLY = 0.8, 0.5


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    lines = []
    scale = (results.get("meta") or {}).get("scale")
    if scale != "full":
        lines.append(
            f"This is the scale “{scale or NOT_STORED}”, not the papers' settings (see the table of settings)."
        )
    for split in splits_of(results):
        lines += reached(results, split)
        lines += order(results, split)
        lines.append(explained(results, split, short=True))
    lines += attacked_honestly(results)
    lines += between_patients(results)
    lines += head_alone(results, short=True)
    return lines


def splits_of(results: Record) -> list[str]:
    """Splits whose columns were run as published; that by beats, which is the papers', in any case."""
    run = {cell.get("split") for cell in results.get("cells") or ()}
    return [split for split in SPLITS if split == "beats" or split in run]


def _cells(results: Record, split: str, column: str) -> dict[str, Record]:
    """Measured cells of a column, by architecture."""
    cells = {
        name: find(results.get("cells"), protocol="as-published", split=split, architecture=name, attack=column)
        for name in ARCHITECTURES
    }
    return {name: cell for name, cell in cells.items() if cell is not None and done(cell)}


def _behind(cell: Record, column: str, architecture: str) -> float:
    """Points by which our accuracy, counted as theirs, differs from the six-attack paper's."""
    row = classification(SIX, COLUMNS[column], architecture)
    assert row is not None  # noqa: S101 - the six-attack paper has all of these rows
    return float(100 * cell["paper_accuracy"] - row.accuracy)


def reached(results: Record, split: str) -> list[str]:
    """Say which columns of Table 1 are reached."""
    columns = {column: _cells(results, split, column) for column in COLUMNS}
    run = sum(map(len, columns.values()))
    places = len(COLUMNS) * len(ARCHITECTURES)
    if not run:
        absent = find(results.get("cells"), protocol="as-published", split=split)
        return [f"Table 1 as published, split {SPLITS[split]}: {not_run(absent)}."]
    lines, hits = [], 0
    for column, cells in columns.items():
        apart = {name: _behind(cell, column, name) for name, cell in cells.items()}
        missed = [f"{NAMES[name]} ({signed(points)})" for name, points in apart.items() if points < -CLOSE]
        hits += len(apart) - len(missed)
        stored = [row for row in results.get("cells") or () if (row.get("split"), row.get("attack")) == (split, column)]
        reason = not_run(next((row for row in stored if not done(row)), None))
        what = reason
        if apart:
            what = f"{len(apart) - len(missed)} of {len(apart)}"
            what += f", not {_listed(missed)}" if missed else f", the lowest {signed(min(apart.values()))}"
        left = [NAMES[name] for name in ARCHITECTURES if name not in cells]
        what += f"; {_listed(left)} {reason}" if left and apart else ""
        lines.append(f"  {column_name(column)}: {what}")
    right = [cell["accuracy"] for cells in columns.values() if (cell := cells.get("proposed")) is not None]
    own = f" Of right answers {NAMES['proposed']} gives {_span(right)}, by column." if right else ""
    return [
        f"Table 1 as published, split {SPLITS[split]}: {run} of {places} places were run, and {hits} of them are "
        f"within {CLOSE} points of the six-attack paper's accuracy, counted as it counts, or above it.{own} By column "
        "(points from the paper):",
        *lines,
    ]


def order(results: Record, split: str) -> list[str]:
    """Say how often the proposed architecture comes first."""
    wins = full = 0
    for column in COLUMNS:
        cells = _cells(results, split, column)
        if len(cells) == len(ARCHITECTURES):
            full += 1
            best = max(cell["paper_accuracy"] for name, cell in cells.items() if name != "proposed")
            wins += cells["proposed"]["paper_accuracy"] > best
    if not full:
        return []
    theirs = 0
    for attack in COLUMNS.values():
        rows = {name: row.accuracy for name in ARCHITECTURES if (row := classification(SIX, attack, name))}
        theirs += max(rows, key=lambda name, rows=rows: rows[name]) == "proposed"  # type: ignore[misc]
    return [
        f"{NAMES['proposed']} is first in {theirs} of the six-attack paper's {len(COLUMNS)} columns, and in {wins} of "
        f"the {full} that were run here with every architecture, split {SPLITS[split]}."
    ]


def explained(results: Record, split: str, short: bool = False) -> str:
    """Say whether what the attack data are explains what the columns show."""
    rows = [
        row
        for row in results.get("attack_data") or ()
        if row.get("split") == split and row.get("part") == "test" and done(row)
    ]
    if not rows:
        return f"Attacked test beats, split {SPLITS[split]}: {not_run(find(results.get('attack_data'), split=split))}."

    def means(name: str) -> dict[str, float]:
        of = {
            column: [row[name] for row in rows if row["attack"] == column and present(row.get(name))]
            for column in COLUMNS
        }
        return {column: float(np.mean(values)) for column, values in of.items() if values}

    length, unchanged, kept = means("l2_mean"), means("unchanged"), means("label_kept")
    ours, theirs = _falls(results, split), _falls(None, split)
    parts = []
    still = {column: share for column, share in unchanged.items() if share > 0.5}
    if still:
        named = _listed([f"{column_name(column)} ({percent(share)}%)" for column, share in still.items()])
        parts.append(
            f"More than half of the “attacked” test beats are the clean ones under {named}: there the column shows "
            "little but accuracy on clean beats."
        )
    elif unchanged:
        most = max(unchanged, key=lambda column: unchanged[column])
        parts.append(
            f"Under no attack is more than half of the test beats left unchanged; most are under {column_name(most)}, "
            f"{percent(unchanged[most])}%."
        )
    if kept:
        low, high = (pick(kept, key=lambda column: kept[column]) for pick in (min, max))
        share = f"{percent(kept[low])}% of the beats under every attack"
        if percent(kept[low]) != percent(kept[high]):
            share = (
                f"{percent(kept[low])}% ({column_name(low)}) to {percent(kept[high])}% ({column_name(high)}) of beats"
            )
        parts.append(f"The untrained network, which the attacks were made on, keeps its own answer on {share}.")
    found = [_correlation(length, falls) for falls in (theirs, ours)]
    if present(found[0]):
        shown = [f"{value:.2f}" if present(value) else "undefined" for value in found]
        strength = min(value for value in found if present(value))
        verdict = (
            "so the size of the change explains the order of the columns"
            if strength >= _EXPLAINS
            else "so the size of the change explains a part of the order of the columns"
            if strength >= _PARTLY
            else "so the size of the change does not explain the columns"
        )
        parts.append(
            f"The mean L2 length of an attack's change, and the points that its column falls below that of no attack, "
            f"have a rank correlation of {shown[0]} with the published columns and {shown[1]} with ours (means over "
            f"architectures, {len(length)} attacks), {verdict}."
        )
    if not short and length:
        farthest = max(length, key=lambda column: length[column])
        falls = f"{theirs[farthest]:.1f} points in the six-attack paper" + (
            f", {ours[farthest]:.1f} here" if farthest in ours else ", not run here"
        )
        parts.append(
            f"The longest changes are those of {column_name(farthest)}, {number(length[farthest])} on average; its "
            f"column falls by {falls}."
        )
    return f"Attacked test beats, split {SPLITS[split]}. " + " ".join(parts)


def _falls(results: Record | None, split: str) -> dict[str, float]:
    """Points that each column lies below that of no attack, mean over architectures; the paper's without results."""
    falls: dict[str, list[float]] = {}
    for name in ARCHITECTURES:
        accuracies = {}
        for column, attack in COLUMNS.items():
            row = classification(SIX, attack, name)
            cell = None if results is None else _cells(results, split, column).get(name)
            if results is None and row is not None:
                accuracies[column] = row.accuracy
            elif cell is not None:
                accuracies[column] = 100 * cell["paper_accuracy"]
        for column in set(accuracies) - {"none"} if "none" in accuracies else ():
            falls.setdefault(column, []).append(accuracies["none"] - accuracies[column])
    return {column: float(np.mean(falls[column])) for column in COLUMNS if column in falls}


def _correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Spearman's, over what both have; None for fewer than 4 attacks or where one does not vary."""
    from scipy.stats import rankdata

    both = [column for column in one if column in other]
    a, b = (rankdata([values[column] for column in both]) for values in (one, other))
    if len(both) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def attacked_honestly(results: Record) -> list[str]:
    """Say what PGD leaves of each network, trained on clean beats or on attacked ones too."""
    lines = []
    for split in SPLITS:
        rows = [row for row in tables.bare(results, split) if row.get("attack") == "pgd" and done(row)]
        if not rows:
            absent = find(results.get("honest"), split=split, attack="pgd") or find(results.get("honest"), split=split)
            reason = not_run(None if done(absent) else absent)
            lines.append(f"PGD-40 on the trained networks, split {SPLITS[split]}: {reason}.")
        for title in dict.fromkeys(_title(row) for row in rows):
            of = [row for row in rows if _title(row) == title]
            plain = [row for row in of if row["trained_on"] == "none"]
            left = [f"{tables.network_name(row)} {rate(row, 'robust_accuracy')}" for row in plain]
            left += [
                f"{NAMES[name]} not run" for name in ARCHITECTURES if all(row["architecture"] != name for row in plain)
            ]
            sentence = (
                f"{title} on the trained network itself, split {SPLITS[split]}, leaves of those trained on clean "
            )
            sentence += f"beats (robust accuracy, %): {', '.join(left)}."
            taught = [row for row in of if row["trained_on"] != "none" and present(row.get("robust_accuracy"))]
            if taught:
                best = max(taught, key=lambda row: row["robust_accuracy"])
                sentence += (
                    " Of those trained on attacked copies too, which is the papers' defence, it leaves most of "
                    f"{tables.network_name(best)} trained on {trained_name(best['trained_on'])}: "
                    f"{rate(best, 'robust_accuracy')}."
                )
            lines.append(sentence)
    return lines


def _title(row: Record) -> str:
    return attack_name(row) + (f" at eps {row['eps']:g}" if present(row.get("eps")) else "")


def between_patients(results: Record) -> list[str]:
    """Say what becomes of accuracy on patients that were not trained on."""
    sides: dict[str, dict[str, Record]] = {}
    for split in SPLITS:
        rows = [row for row in tables.bare(results, split) if row["trained_on"] == "none" and done(row)]
        # Every row of a network has its accuracy on clean beats; its confusion matrix only that of no attack.
        for row in sorted(rows, key=lambda row: row.get("attack") is not None):
            sides.setdefault(split, {}).setdefault(row["architecture"], row)
    both = [name for name in ARCHITECTURES if all(name in sides.get(split, {}) for split in SPLITS)]
    if not both:
        return ["Clean accuracy by beats against by patients: not run: no network was measured on both splits."]

    def told(split: str, name: str) -> str:
        row = sides[split][name]
        f1 = tables.macro_f1(row["confusion"]) if row.get("attack") is None and row.get("confusion") else None
        return f"{percent(row['clean_accuracy'])}%" + (f" (macro-F1 {percent(f1)})" if present(f1) else "")

    pairs = [f"{NAMES[name]} {told('beats', name)} by beats and {told('patients', name)} by patients" for name in both]
    return [f"Right answers on clean beats, trained on clean beats: {'; '.join(pairs)}."]


def head_alone(results: Record, short: bool = False) -> list[str]:
    """Say what the attacked/clean head is worth alone, against an attacker who knows it and one who does not."""
    lines = []
    for split in SPLITS:
        rows = [row for row in tables.guarded(results, split) if row.get("attack") is not None]
        measured = [row for row in rows if done(row) and present(row.get("robust_accuracy"))]
        if not measured:
            absent = not_run(next((row for row in rows if not done(row)), None))
            lines.append(f"The attacked/clean head alone, split {SPLITS[split]}: {absent}.")
            continue
        by_attacker = {
            attacker: [row["robust_accuracy"] for row in measured if row.get("threat_model") == attacker]
            for attacker in ("oblivious", "adaptive")
        }
        told = [
            f"{_span(values)} against the {attacker} attacker" for attacker, values in by_attacker.items() if values
        ]
        lines.append(
            f"The attacked/clean head alone, split {SPLITS[split]}, rejecting what it calls attacked, leaves a robust "
            f"accuracy of {' and '.join(told)}."
        )
        if not by_attacker["adaptive"]:
            lines[-1] += " There is no adaptive row: this is an upper bound, and no evidence of a defence."
        if not short:
            lines += [
                f"  {_head_line(results, row, rows)}" for row in measured if row.get("threat_model") == "oblivious"
            ]
    return lines


def _head_line(results: Record, blind: Record, rows: Sequence[Record]) -> str:
    """Compare one oblivious row with its adaptive one and with no guard."""
    same = {name: blind.get(name) for name in ("split", "architecture", "trained_on", "attack", "eps")}
    seeing = find([row for row in rows if row.get("threat_model") == "adaptive"], **same)
    alone = find([row for row in results.get("honest") or () if row.get("guard") in (None, "none")], **same)
    line = (
        f"{tables.network_name(blind)} trained on {trained_name(blind['trained_on'])}, {_title(blind)}: "
        f"{percent(blind.get('rejected_adversarial'))}% of attacked beats are rejected and "
        f"{percent(blind.get('rejected_clean'))}% of clean ones; robust accuracy {percent(blind['robust_accuracy'])}%"
    )
    if alone is not None and done(alone):
        line += f", against {percent(alone.get('robust_accuracy'))}% without the head"
    if seeing is None or not done(seeing) or not present(seeing.get("robust_accuracy")):
        return f"{line}. The adaptive attacker: {not_run(seeing)}; this is an upper bound."
    line += (
        f". An attacker who knows the head is rejected on {percent(seeing.get('rejected_adversarial'))}% and leaves "
        f"{percent(seeing['robust_accuracy'])}%."
    )
    if seeing["robust_accuracy"] > blind["robust_accuracy"]:
        line += " **The adaptive attack is weaker than the oblivious one: a fault of ours, no strength of the head.**"
    return line


def smaller(meta: Record) -> str:
    """Say which settings of this run fall short of the six-attack paper's."""
    settings, paper = meta.get("settings") or {}, TRAINING[SIX]
    tested = sum(COUNTS_AS_THE_TEXT_HAS_THEM.test.values())
    asked = {
        "epochs": ("epochs", paper.epochs),
        "per_class": ("beats a class", paper.beats_per_class),
        "folds_trained": ("folds", paper.folds),
        "test_beats": ("test beats", tested),
    }
    less = [
        f"{settings[key]:,} of {theirs:,} {name}"
        for key, (name, theirs) in asked.items()
        if theirs is not None and present(settings.get(key)) and settings[key] < theirs
    ]
    if not settings:
        return "The settings of this run: not stored."
    if not less:
        return "This run has the six-attack paper's epochs, beats, folds and test beats, or more."
    return f"This run is smaller than the six-attack paper's: {_listed(less)}. Differences may be of that making."


def prevalence(results: Record) -> list[str]:
    """Say what always answering the commonest class would score."""
    lines = []
    for split in SPLITS:
        rows = [cell for column in COLUMNS for cell in _cells(results, split, column).values() if cell.get("confusion")]
        rows += [row for row in tables.bare(results, split) if done(row) and row.get("confusion")]
        if not rows:
            continue
        found = rows[0]["confusion"]
        counts = np.array(found["matrix"]).sum(1) + np.array(found["rejected"])  # [K]
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
        rows = [cell for column in COLUMNS for cell in _cells(results, split, column).values()]
        rows += [row for row in tables.bare(results, split) if done(row)]
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
            lines.append(f"Split {SPLITS[split]}, little can be said of {_listed(few)}.")
    return lines


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _span(values: Sequence[float]) -> str:
    low, high = percent(min(values)), percent(max(values))
    return f"{low}%" if low == high else f"{low}% to {high}%"
