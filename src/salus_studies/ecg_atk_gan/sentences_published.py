"""Sentences on Table 1 as published, computed from stored results."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from salus.metrics.wording import number, percent, present, signed
from salus_studies.ecg_atk_gan.attacked import LOTTERY
from salus_studies.ecg_atk_gan.naming import (
    COLUMNS,
    NAMES,
    NOT_COMPARABLE,
    PRESETS,
    SPLITS,
    column_name,
    marked_name,
)
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, FOUR, SIX, PaperName
from salus_studies.ecg_atk_gan.tables import cell_of, printed_row
from salus_studies.frame.markdown import Record, done, find, listed, not_run, span

#: A place counts as reached within so many points of the paper's accuracy, above or below.
CLOSE = 1.5

#: From this rank correlation upwards one thing explains the order of another, or a part of it.
_EXPLAINS, _PARTLY = 0.8, 0.5


def splits_of(results: Record) -> list[str]:
    """Splits whose columns were run as published; that by beats, which is the papers', in any case."""
    run = {cell.get("split") for cell in results.get("cells") or ()}
    return [split for split in SPLITS if split == "beats" or split in run]


def cells_of(results: Record, split: str, column: str, paper: PaperName = SIX) -> dict[str, Record]:
    """Measured cells of a column, by architecture; of the proposed model that of a paper's preset."""
    cells = {name: cell_of(results, split, column, name, paper) for name in ARCHITECTURES}
    return {name: cell for name, cell in cells.items() if cell is not None and done(cell)}


def apart(cell: Record, paper: PaperName, column: str, architecture: str) -> float | None:
    """Points by which our accuracy, counted as theirs, differs from a paper's; None where it has no such row."""
    row = printed_row(paper, column, architecture)
    return None if row is None else float(100 * cell["paper_accuracy"] - row.accuracy)


def columns_of_paper(paper: PaperName) -> list[str]:
    """Columns that a paper's Table 1 has."""
    return [column for column in COLUMNS if printed_row(paper, column, "proposed") is not None]


def reached(results: Record, split: str) -> list[str]:
    """Say for each paper which places of its Table 1 are reached, to either side."""
    lines = []
    for paper in (SIX, FOUR):
        columns = columns_of_paper(paper)
        comparable = [name for name in ARCHITECTURES if name not in NOT_COMPARABLE]
        cells = {column: cells_of(results, split, column, paper) for column in columns}
        run = sum(name in comparable for of in cells.values() for name in of)
        title = f"Table 1 of {paper.replace('-', ' ')} as published, split {SPLITS[split]}"
        if not run:
            absent = find(results.get("cells"), protocol="as-published", split=split)
            lines.append(f"{title}: {not_run(absent)}.")
            continue
        hits, by_column = 0, []
        for column in columns:
            near, text = _column(results, split, column, paper, cells[column])
            hits += near
            by_column.append(f"  {column_name(column)}: {text}")
        right = [of["proposed"]["accuracy"] for of in cells.values() if "proposed" in of]
        own = f" Of right answers {NAMES['proposed']} gives {span(right)}, by column." if right else ""
        lines += [
            f"{title}: of {len(columns) * len(comparable)} places with networks that are described, {run} were run, "
            f"and {hits} of these are within {CLOSE} points of the paper's accuracy, above or below, counted as it "
            f"counts.{own} By column (points from the paper; † is our own reading, and not counted):",
            *by_column,
        ]
    return lines


def _column(results: Record, split: str, column: str, paper: PaperName, cells: Mapping[str, Record]) -> tuple[int, str]:
    """Count the places of a column that are reached, and say how far all are from the paper's."""
    points = {name: apart(cell, paper, column, name) for name, cell in cells.items()}
    known = {name: value for name, value in points.items() if value is not None}
    counted = {name: value for name, value in known.items() if name not in NOT_COMPARABLE}
    near = sum(abs(value) <= CLOSE for value in counted.values())
    told = [f"{marked_name(name)} {signed(value)}" for name, value in known.items()]
    what = f"{near} of {len(counted)}: {listed(told)}" if known else ""
    left = [name for name in ARCHITECTURES if name not in cells]
    if left:
        reasons = dict.fromkeys(not_run(cell_of(results, split, column, name, paper)) for name in left)
        names = "" if not known else f"{listed([NAMES[name] for name in left])} "
        what += f"{'; ' if known else ''}{names}{listed(list(reasons))}"
    return near, what


def order(results: Record, split: str) -> list[str]:
    """Say how often the proposed architecture comes first."""
    lines = []
    for paper in (SIX, FOUR):
        wins = full = theirs = 0
        columns = columns_of_paper(paper)
        for column in columns:
            cells = cells_of(results, split, column, paper)
            if len(cells) == len(ARCHITECTURES):
                full += 1
                best = max(cell["paper_accuracy"] for name, cell in cells.items() if name != "proposed")
                wins += cells["proposed"]["paper_accuracy"] > best
            rows = {name: row.accuracy for name in ARCHITECTURES if (row := printed_row(paper, column, name))}
            theirs += max(rows, key=lambda name: rows[name]) == "proposed"
        if full:
            lines.append(
                f"{NAMES['proposed']} is first in {theirs} of the {len(columns)} columns of {paper.replace('-', ' ')}, "
                f"and with its settings in {wins} of the {full} that were run here with every architecture, split "
                f"{SPLITS[split]}."
            )
    return lines


def noise_between_runs(results: Record, split: str) -> str:
    """Take the columns BIM and PGD, whose data are the same, as a measure of what another training changes."""
    of = {
        name: find(results.get("attack_data"), attack=name) or find(results.get("seeds"), attack=name)
        for name in ("bim", "pgd")
    }
    title = "BIM and PGD of the released script are the same data, as it leaves ART's num_random_init at 0"
    digests = {row.get("digest") for row in of.values() if row is not None and done(row)}
    if all(row is not None and done(row) for row in of.values()):
        same = len(digests) == 1 and None not in digests
        title += ", and so they are here, bit for bit" if same else "; here their copies differ"
    told = []
    for paper in (SIX, FOUR):
        bim, pgd = (cells_of(results, split, column, paper) for column in ("bim", "pgd"))
        for name in bim:
            if name in pgd and (name == "proposed" or paper == SIX):
                points = 100 * (bim[name]["paper_accuracy"] - pgd[name]["paper_accuracy"])
                whose = f"{NAMES[name]}, {PRESETS[paper]}," if name == "proposed" else NAMES[name]
                told.append(f"{whose} {signed(points)}")
    printed = [
        f"{NAMES[name]} {signed(bim_row.accuracy - pgd_row.accuracy)}"
        for name in ARCHITECTURES
        if (bim_row := printed_row(SIX, "bim", name)) and (pgd_row := printed_row(SIX, "pgd", name))
    ]
    ours = (
        f"so the two columns differ by the seed of the training alone. BIM less PGD, in points, ours: {listed(told)}"
        if told
        else "so the two columns would differ by the seed of the training alone; ours: not run in both"
    )
    return f"{title}: {ours}; six attacks: {listed(printed)}."


def seeds_in_short(results: Record) -> list[str]:
    """Say how much the seed of the untrained network decides."""
    told = []
    for attack in LOTTERY:
        shares = [
            float(row["unchanged"]) for row in results.get("seeds") or () if row.get("attack") == attack and done(row)
        ]
        if len(shares) > 1:
            told.append(f"{column_name(attack)} {span(shares)} (mean {percent(float(np.mean(shares)))}%)")
    if not told:
        return []
    return [
        f"Which “attacked” beats come back unchanged is decided by the seed of a network that nobody trained: over "
        f"{len(shares)} seeds {listed(told)} of them do."
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
        accuracies: dict[str, float] = {}
        for column in COLUMNS:
            if results is None:
                row = printed_row(SIX, column, name)
                accuracies |= {} if row is None else {column: row.accuracy}
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
