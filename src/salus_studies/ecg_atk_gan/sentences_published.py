"""Sentences on Table 1 as published, computed from stored results."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from salus.metrics.wording import number, percent, present, signed
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, SPLITS, column_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, six_row
from salus_studies.frame.markdown import Record, done, find, listed, not_run, span

#: A column counts as reached from this many points under the six-attack paper's accuracy upwards.
CLOSE = 1.5

#: From this rank correlation upwards one thing explains the order of another, or a part of it.
_EXPLAINS, _PARTLY = 0.8, 0.5


def splits_of(results: Record) -> list[str]:
    """Splits whose columns were run as published; that by beats, which is the papers', in any case."""
    run = {cell.get("split") for cell in results.get("cells") or ()}
    return [split for split in SPLITS if split == "beats" or split in run]


def cells_of(results: Record, split: str, column: str) -> dict[str, Record]:
    """Measured cells of a column, by architecture."""
    cells = {
        name: find(results.get("cells"), protocol="as-published", split=split, architecture=name, attack=column)
        for name in ARCHITECTURES
    }
    return {name: cell for name, cell in cells.items() if cell is not None and done(cell)}


def _behind(cell: Record, column: str, architecture: str) -> float:
    """Points by which our accuracy, counted as theirs, differs from the six-attack paper's."""
    return float(100 * cell["paper_accuracy"] - six_row(COLUMNS[column], architecture).accuracy)


def reached(results: Record, split: str) -> list[str]:
    """Say which columns of Table 1 are reached."""
    columns = {column: cells_of(results, split, column) for column in COLUMNS}
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
            what += f", not {listed(missed)}" if missed else f", the lowest {signed(min(apart.values()))}"
        left = [NAMES[name] for name in ARCHITECTURES if name not in cells]
        what += f"; {listed(left)} {reason}" if left and apart else ""
        lines.append(f"  {column_name(column)}: {what}")
    right = [cell["accuracy"] for cells in columns.values() if (cell := cells.get("proposed")) is not None]
    own = f" Of right answers {NAMES['proposed']} gives {span(right)}, by column." if right else ""
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
        cells = cells_of(results, split, column)
        if len(cells) == len(ARCHITECTURES):
            full += 1
            best = max(cell["paper_accuracy"] for name, cell in cells.items() if name != "proposed")
            wins += cells["proposed"]["paper_accuracy"] > best
    if not full:
        return []
    theirs = 0
    for attack in COLUMNS.values():
        accuracies = {six_row(attack, name).accuracy: name for name in reversed(ARCHITECTURES)}
        theirs += accuracies[max(accuracies)] == "proposed"
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
        named = listed([f"{column_name(column)} ({percent(share)}%)" for column, share in still.items()])
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
    correlations = [_correlation(length, falls) for falls in (theirs, ours)]
    if present(correlations[0]):
        shown = [f"{value:.2f}" if present(value) else "undefined" for value in correlations]
        strength = min(value for value in correlations if present(value))
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
            if results is None:
                accuracies[column] = six_row(attack, name).accuracy
            elif (cell := cells_of(results, split, column).get(name)) is not None:
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
