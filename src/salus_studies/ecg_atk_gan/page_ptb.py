"""The page of ECG-ATK-GAN on PTB: what the six-attack paper prints of it beside what stored results hold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from salus.metrics.wording import number, percent, signed
from salus_studies.ecg_atk_gan import figures, tables_honest, tables_ptb
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, column_name, trained_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, PAPERS, SIX
from salus_studies.frame.markdown import NOT_STORED, Record, bullets, circumstances, done, listed, not_run, span
from salus_studies.frame.page import Page, Picture, Show, compose
from salus_studies.frame.results import Results

HEAD = """\
# ECG-ATK-GAN on PTB, the paper beside Salus

*Written from stored results by the command below; do not edit by hand.*

{authors}: *{title}*. Here “six attacks”; the four-attack paper has no table on PTB.

Shares, accuracies, SSIM and correlations are in percent, 95% intervals in parentheses; “–” stands where a number is
undefined or the paper has none. “As published” follows the paper and its released code, flaws included; “honest” keeps
patients apart and attacks the trained network itself, at full strength.
"""

CAVEATS = """\
- Nobody annotated R peaks in this database: a detector found them, and beats that it missed or invented are not known.
- The paper does not say of which class its sensitivity is. Ours are the sensitivity and specificity of myocardial
  infarction; of healthy people they are exchanged.
- As published, beats of one patient stand in training and in test: what is learnt may be the person.
- The intervals resample patients, of whom the database has 52 that are healthy.
- Shaker's DC-GANs make beats only where classes differ in size. Here both have the same number, and none is made.
- Baselines hold out one of five folds of the training beats to choose their epoch; the paper says of none how.
- BIM and PGD of the released script are the same beats: what differs between the two columns is the seed of the
  training, which measures the noise between two runs.
"""

#: Points within which a place of the table counts as reached, on either side.
CLOSE = 1.5

#: What the rows of Table 3 on PTB stand for whose MSE and NRMSE are printed with four digits: none, BIM, PGD, CW.
PRINTED_RMS = ".490 to .491"


def page(results: Results, folder: str) -> Page:
    """Make the page, whose figures lie in ``folder``, from results alone."""
    values = results.values
    ptb: Record = values["ptb"]

    def parts(show: Show) -> list[str]:
        return [
            HEAD.format(authors=PAPERS[SIX].authors, title=PAPERS[SIX].title),
            circumstances(values.get("meta") or {}),
            "## In short\n",
            bullets([*reached(values), *first(ptb), *unchanged(ptb), *between_patients(ptb)]),
            *_as_published(values, show),
            *_honest(ptb),
            *_about(values),
        ]

    return compose(_pictures(ptb, results.arrays), folder, parts)


def _pictures(ptb: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Picture]:
    overlays, drawn = ptb.get("overlays"), {}
    for name, words in (("attacked", ("clean", "attacked")), ("generated", ("original", "generated"))):
        if overlays and f"overlay_{name}" in arrays:
            beats, others = arrays["overlay_clean"], arrays[f"overlay_{name}"]
            drawn[name] = Picture(partial(figures.overlay_picture, beats, others, overlays, words))
    return drawn


def _as_published(values: Record, show: Show) -> list[str]:
    ptb: Record = values["ptb"]
    return [
        "## As published\n",
        "### Table 2\n",
        "With two classes the paper's accuracy is the share of right answers.\n",
        tables_ptb.ptb_table(values),
        "### Ours beside the paper's\n",
        "“Unchanged” is the share of beats that the attack left as they were.\n",
        tables_ptb.apart_table(values),
        "### The attacked beats\n",
        "Means over test beats. “Answer kept” is the share of beats on which the untrained network that was attacked "
        "answers as before.\n",
        tables_ptb.attacked_table(ptb),
        "### DBB and HSJ of other seeds of the untrained network\n",
        tables_ptb.seeds_table(ptb),
        show("attacked", "Clean beats (red) under attacked ones (blue), each attack on each class"),
        "### The generator: Table 3\n",
        scaling(ptb) + "\n",
        tables_ptb.generator_table(values),
        show("generated", "Originals (red) under what the generator makes of them (blue)"),
    ]


def _honest(ptb: Record) -> list[str]:
    return [
        "## Honest\n",
        "Nobody stands in training and in test. Each attack runs at full strength on the very network that is judged, "
        "and a beat counts only where its answer is right clean and attacked. Beats are drawn by class, and what is "
        "counted is weighted to the prevalence of the whole test part; sensitivities need no weights.\n",
        "### Bare networks\n",
        tables_honest.honest_table(ptb, "patients"),
        "Sensitivity of both classes:\n",
        tables_ptb.classes_table(ptb),
        "### The attacked/clean head alone\n",
        "A beat that the head calls attacked is rejected; a rejected clean beat counts as lost, a rejected attacked "
        "one as held.\n",
        tables_honest.head_table(ptb, "patients"),
    ]


def _about(values: Record) -> list[str]:
    meta, ptb = values.get("meta") or {}, values["ptb"]
    each, patients = ptb.get("beats_of_each") or {}, ptb.get("patients_of_each") or {}
    found = [f"{name}: {each[name]:,} beats of {patients.get(name, 0)} patients" for name in each]
    data = meta.get("data") or {}
    notes = [note for of in data.values() for note in (of.get("provenance") or of).get("notes") or ()]
    return [
        "## What to mind when reading these numbers\n",
        CAVEATS,
        "## The data\n",
        bullets([f"In the database here: {'; '.join(found) or NOT_STORED}.", *_sides(data), *dict.fromkeys(notes)]),
        "## How it was trained\n",
        tables_ptb.settings_table(meta),
        tables_ptb.trainings_table(ptb),
    ]


_SIDES = {"as published": "Beats as published", "patients": "Beats of honest, between patients"}


def _sides(data: Record) -> list[str]:
    """Say how many beats of each class stand where."""
    return [
        f"{_SIDES.get(name, name)}, {part}: {', '.join(f'{label} {count:,}' for label, count in counts.items())}."
        for name, of in data.items()
        for part, counts in (of.get("counts") or {}).items()
    ]


# What the numbers come to.


def reached(values: Record) -> list[str]:
    """Say which places of Table 2 are reached: not too far below the paper's, nor above."""
    ptb: Record = values["ptb"]
    scale = (values.get("meta") or {}).get("scale")
    lines = [] if scale == "full" else [f"This is the scale “{scale or NOT_STORED}”, not the paper's settings."]
    below: list[str] = []
    hits = run = 0
    for column in COLUMNS:
        cells = {name: tables_ptb.cell_of(ptb, column, name) for name in ARCHITECTURES}
        apart = {
            name: 100 * cell["accuracy"] - tables_ptb.printed(column, name).accuracy
            for name, cell in cells.items()
            if cell is not None and done(cell)
        }
        near = [name for name, points in apart.items() if abs(points) <= CLOSE]
        run, hits = run + len(apart), hits + len(near)
        far = [f"{NAMES[name]} ({signed(points)})" for name, points in apart.items() if name not in near]
        what = f"{len(near)} of {len(apart)}" + (f", not {listed(far)}" if far else "")
        left = next((cell for cell in cells.values() if cell is None or not done(cell)), None)
        below.append(f"  {column_name(column)}: {what if apart else not_run(left)}")
    places = len(COLUMNS) * len(ARCHITECTURES)
    return [
        *lines,
        f"Table 2: {run} of {places} places were run, and {hits} of them are within {CLOSE} points of the paper's "
        "accuracy, above or below. By column (points from the paper):",
        *below,
    ]


def first(ptb: Record) -> list[str]:
    """Say how often the proposed architecture comes first."""
    whole = wins = theirs = 0
    for column in COLUMNS:
        cells = {name: tables_ptb.cell_of(ptb, column, name) for name in ARCHITECTURES}
        ours = {name: cell["accuracy"] for name, cell in cells.items() if cell is not None and done(cell)}
        if len(ours) == len(ARCHITECTURES):
            whole, wins = whole + 1, wins + _leads(ours)
        theirs += _leads({name: tables_ptb.printed(column, name).accuracy for name in ARCHITECTURES})
    return [
        f"{NAMES['proposed']} is first in {theirs} of the paper's {len(COLUMNS)} columns, and in {wins} of the {whole} "
        "that were run here with every architecture."
    ]


def _leads(accuracies: Mapping[str, float]) -> bool:
    return all(accuracies["proposed"] > other for name, other in accuracies.items() if name != "proposed")


def unchanged(ptb: Record) -> list[str]:
    """Say how many beats DBB and HSJ leave alone, by the seed of the untrained network."""
    lines = []
    for column in ("dbb", "hsj"):
        rows = [row for row in ptb.get("again") or () if row["attack"] == column and done(row) and row.get("seeds")]
        if rows:
            left = [seed["unchanged"] for row in rows for seed in row["seeds"]]
            right = [seed["accuracy"] for row in rows for seed in row["seeds"]]
            lines.append(
                f"{column_name(column)}: over {len(rows[0]['seeds'])} seeds of the untrained network {span(left)} of "
                f"the test beats come back unchanged, and the networks are right on {span(right)}."
            )
    return lines


def between_patients(ptb: Record) -> list[str]:
    """Say what is left between patients, clean and under PGD."""
    rows = [row for row in ptb.get("honest") or () if row.get("guard") in (None, "none") and done(row)]
    if not rows:
        reason = not_run(next(iter(ptb.get("honest") or ()), None))
        return [f"Between patients, attacked at full strength: {reason}."]
    lines = []
    for on in dict.fromkeys(row["trained_on"] for row in rows):
        clean = {row["architecture"]: row for row in rows if row["trained_on"] == on and row.get("attack") is None}
        pgd = {row["architecture"]: row for row in rows if row["trained_on"] == on and row.get("attack") == "pgd"}
        of = [
            f"{NAMES[name]} {percent(clean[name].get('clean_accuracy'))}"
            + (f" and {percent(pgd[name].get('robust_accuracy'))}" if name in pgd else "")
            for name in ARCHITECTURES
            if name in clean
        ]
        under = " and under PGD-40 at eps 0.01" if pgd else ""
        lines.append(
            f"Right answers between patients, trained on {trained_name(on)}, clean{under} (%): {', '.join(of)}."
        )
    return lines


def scaling(ptb: Record) -> str:
    """Say whether the printed figures on the generator can be compared with ours at all."""
    text = (
        "The papers do not say by what a beat is scaled. The root of MSE over NRMSE is the root mean square of their "
        f"beats: {PRINTED_RMS} on PTB."
    )
    sizes: Record = ptb.get("scaling") or {}
    if sizes:
        record, beat = float(sizes["record"]["rms"]), float(sizes["beat"]["rms"])
        nearer = "the record" if abs(record - 0.49) < abs(beat - 0.49) else "the beat"
        text += (
            f" Of all beats here it is {number(record, '.3f')} scaled by their record and {number(beat, '.3f')} scaled "
            f"by themselves: {nearer} is nearer. “As published” scales by the record, where eps 0.01 is "
            f"{percent(0.01 / float(sizes['record']['height']))}% of a beat's mean height."
        )
    return text + " Ours is compared both with the beat that the generator was given and with the clean beat."
