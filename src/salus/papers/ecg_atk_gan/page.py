"""The page of ECG-ATK-GAN: what both papers print beside what stored results hold, and sentences computed from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus import atomic
from salus.papers.ecg_atk_gan import figures, tables
from salus.papers.ecg_atk_gan.published import (
    ARCHITECTURES,
    CLASSES,
    COUNTS_AS_THE_TEXT_HAS_THEM,
    PAPERS,
    REMARKS,
    SIX,
    TRAINING,
    classification,
)
from salus.papers.ecg_atk_gan.tables import (
    COLUMNS,
    NAMES,
    SPLITS,
    Record,
    attack_name,
    column_name,
    done,
    find,
    not_run,
    number,
    percent,
    present,
    signed,
    trained_name,
)

#: A column counts as reached from this many points under the six-attack paper's accuracy upwards.
CLOSE = 1.5

#: From this rank correlation upwards one thing explains the order of another, or a part of it.
_EXPLAINS, _PARTLY = 0.8, 0.5

HEAD = """\
# ECG-ATK-GAN, the papers beside Salus

*Written from stored results by the command below; do not edit by hand.*

{papers}

Shares, accuracies, AUC, SSIM and correlations are in percent, 95% intervals in parentheses. “–” stands where a number
is undefined, too few samples carry it, or a paper has none; “not run” and its reason where this run has none. “As
published” follows the released code, flaws included; “honest” attacks the trained network itself, at full strength.
"""

WHY = """\
What the papers leave out, get wrong, or say twice:

{remarks}

Where the released code is not what the text says, and what is followed here:

- **Attacks on an untrained network.** The released script computes attacked beats on a network of the discriminator's
  shape that was never trained. That is reproduced under “as published”; a trained network meets no attack made for it
  there.
- **HSJ and DBB without a step.** The script runs both with `max_iter=0`, so that their search ends where it begins.
  How far from the beat that is, or whether it is the beat itself, the table of attacked beats shows.
- **One training for each attack.** Each network is tested on the very attack, made on the very network, that made its
  training copies. It shows that attacked beats of that kind can be learnt, not that an attacker who adapts is held
  off.
- **No noise.** The text smooths noise in [0, 1] with sigma 3. The code draws it with `randint(high=1, low=0)`, which
  gives only zeros, and smooths them with sigma 4. Here the noise is the text's.
- **The fake target.** The equations write -1 for generated beats, which a sigmoid cannot reach; the code uses 0, and so
  does Salus.
- **The label.** The equations write D(x, E_y), but the discriminator never receives the label, in the code or here.
- **The discriminator's widths.** The code has four stages of 32, 64, 128 and 256; the texts have three, of 16, 32 and
  128 in the four-attack paper.
- **The attention.** The six-attack paper gives no formula for its skip-dilated attention and the code has none; here it
  is a gate computed from the same states.
- **eps.** 0.01 for FGSM, BIM, PGD and DBB and 0.1 for CW in the six-attack paper, none for HSJ; none at all in the
  four-attack paper.
"""

CAVEATS = """\
- These are not figures in the sense of ANSI/AAMI EC57. Beats stand where the database's annotations put them, so missed
  and invented beats do not occur; all of a record counts, not only what follows its first five minutes; and a fusion
  beat (F) answered V counts against V here, as in the papers, which the standard leaves out.
- Sensitivity and specificity are those of one class against the rest. Positive predictivity, which the standard asks
  for, the papers do not print; with F under 1% of beats a specificity of 99% can still mean that most answers F are
  wrong.
- Split by beats, every patient stands on both sides, and intervals that count beats as independent are too narrow for
  anything said of new patients.
- Intervals tell what other test beats, or other patients, would change. They do not tell what another seed or another
  training would.
"""


def write_page(results: Record, arrays: Mapping[str, NDArray[Any]], page: Path) -> None:
    """Write the page, and its figures into a folder of its name beside it, from stored results alone.

    The same results give the same bytes. Figures come first, so that a page never shows one that is not there.

    Args:
        results: what ``salus reproduce ecg-atk-gan`` stored as results.json.
        arrays: example beats ``overlay_clean``, ``overlay_attacked`` and ``overlay_generated`` ``[A, K, L]``, in
            the order of ``results["overlays"]``; without them those figures are left out, and the page says so.
        page: the Markdown file.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    pictures = figures.draw(results, arrays)
    for name, content in pictures.items():
        atomic.write_bytes(page.with_suffix("") / f"{name}.png", content)

    def show(name: str, words: str) -> str:
        if name in pictures:
            return f"![{words}]({page.stem}/{name}.png)\n"
        return f"*{words}.* not run: nothing to draw it from is stored.\n"

    parts = [head(results), "## In short\n", bullets(summary(results)), *as_published(results, show),
             *honest(results, show), *about(results)]  # fmt: skip
    atomic.write_text(page, "\n".join(parts))


def head(results: Record) -> str:
    """Say whose numbers these are and how they were made."""
    meta = results.get("meta") or {}
    papers = "\n".join(
        f"- {paper.authors}: *{paper.title}*. Here “{paper.name.replace('-', ' ')}”: {', '.join(paper.attacked)}."
        for paper in PAPERS.values()
    )
    versions = ", ".join(f"{name} {version}" for name, version in (meta.get("versions") or {}).items())
    budget = meta.get("budget_minutes")
    facts = {
        "scale": meta.get("scale"),
        "protocols": ", ".join(meta.get("protocols") or ()),
        "seed": meta.get("seed"),
        "made": meta.get("created"),
        "machine": meta.get("machine"),
        "threads": meta.get("threads"),
        "versions": versions,
        "took": f"{meta['seconds'] / 60:.1f} minutes" if present(meta.get("seconds")) else None,
        "time allowed": f"{budget:g} minutes" if present(budget) else "no limit" if meta else None,
    }
    rows = [[name, NOT_STORED if value in (None, "") else str(value)] for name, value in facts.items()]
    return "\n".join([HEAD.format(papers=papers), f"```\n{meta.get('command') or NOT_STORED}\n```\n",
                      tables.markdown(["", ""], rows, 2)])  # fmt: skip


NOT_STORED = "not stored"


def bullets(sentences: Iterable[str]) -> str:
    """Write a list; a sentence that begins with two spaces stands under the one before."""
    return "".join(f"{'  - ' if line.startswith('  ') else '- '}{line.strip()}\n" for line in sentences)


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    lines = []
    scale = (results.get("meta") or {}).get("scale")
    if scale != "full":
        lines.append(
            f"This is the scale “{scale or NOT_STORED}”, not the papers' settings (see the table of settings)."
        )
    for split in _splits(results):
        lines += reached(results, split)
        lines += order(results, split)
        lines.append(explained(results, split, short=True))
    lines += attacked_honestly(results)
    lines += between_patients(results)
    lines += head_alone(results, short=True)
    return lines


def _splits(results: Record) -> list[str]:
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
    rows = [row for row in results.get("attack_data") or ()
            if row.get("split") == split and row.get("part") == "test" and done(row)]  # fmt: skip
    if not rows:
        return f"Attacked test beats, split {SPLITS[split]}: {not_run(find(results.get('attack_data'), split=split))}."

    def means(name: str) -> dict[str, float]:
        of = {column: [row[name] for row in rows if row["attack"] == column and present(row.get(name))]
              for column in COLUMNS}  # fmt: skip
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
            "so the size of the change explains the order of the columns" if strength >= _EXPLAINS
            else "so the size of the change explains a part of the order of the columns" if strength >= _PARTLY
            else "so the size of the change does not explain the columns"
        )  # fmt: skip
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
            left = [f"{tables.network_name(row)} {tables.rate(row, 'robust_accuracy')}" for row in plain]
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
                    f"{tables.rate(best, 'robust_accuracy')}."
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


Show = Callable[[str, str], str]


def as_published(results: Record, show: Show) -> list[str]:
    """The papers' tables beside ours."""
    parts = ["## As published\n"]
    for split in SPLITS:
        title = SPLITS[split]
        if split not in _splits(results):
            parts.append(f"### Split {title}\n\nTable 1 as published, split {title}: {not_run(None)}.\n")
            continue
        parts += [
            f"### Table 1, split {title}\n",
            "“Accuracy” of the papers is the mean of four one-against-the-rest accuracies; ours is counted alike. "
            "The right answers of the six-attack paper are those that its printed accuracy stands for.\n",
            tables.accuracy_table(results, split),
            show(f"accuracy-{split}", f"Accuracy as the papers count it, theirs and ours, split {title}"),
            f"#### The order of the architectures, split {title}\n",
            "“≈” stands between ours where the 95% intervals of two neighbours overlap.\n",
            tables.order_table(results, split),
        ]
        for figure, words in (("sensitivity", "Sensitivity"), ("specificity", "Specificity")):
            parts += [
                f"#### {words} of each class, split {title}\n",
                "Papers: four attacks / six attacks; one number where both print the same, or only one prints any.\n",
                tables.per_class_table(results, split, figure),
            ]
        parts += [
            f"#### AUC as the four-attack paper counts it, split {title}\n",
            "(sensitivity + specificity) / 2. The six-attack paper prints none.\n",
            tables.per_class_table(results, split, "auc"),
            f"#### AUC from our class scores, split {title}\n",
            tables.score_auc_table(results, split),
            f"### The attacked beats, split {title}\n",
            explained(results, split) + "\n",
            "Means over beats. “Answer kept” is the share of beats on which the untrained network answers as before.\n",
            tables.attack_data_table(results, split),
            tables.changed_table(results, split),
        ]
    overlays = show(
        "attacked", "Clean beats (red) under attacked ones (blue), each attack on each class, as in the papers"
    )
    return [
        *parts,
        overlays,
        "### The generator: Table 2 of four attacks, Table 3 of six attacks\n",
        "MIT-BIH. Ours is compared both with the beat that the generator was given, clean or attacked, and with the "
        "clean beat; the papers do not say which of the two they mean.\n",
        tables.generator_table(results),
        show("generated", "Originals (red) under what the generator makes of them (blue)"),
        "### PTB: Table 2 of six attacks\n",
        tables.ptb_table(results),
        "The generator on PTB, Table 3 of six attacks:\n",
        tables.generator_table(results, "PTB"),
    ]


def honest(results: Record, show: Show) -> list[str]:
    """Attacks at full strength on the trained networks."""
    parts = [
        "## Honest\n",
        "Each attack runs at full strength on the very network that is judged; a beat counts only where its answer is "
        "right clean and attacked.\n",
    ]
    for split, title in SPLITS.items():
        parts += [
            f"### Bare networks, split {title}\n",
            tables.honest_table(results, split),
            show(f"robust-{split}", f"Robust accuracy of each architecture under each attack, split {title}"),
            f"Sensitivity of each class, split {title}:\n",
            tables.honest_classes_table(results, split),
        ]
    parts += [
        "### The attacked/clean head alone\n",
        "A beat that the head calls attacked is rejected; a rejected clean beat counts as lost, a rejected attacked "
        "one as held. An oblivious attacker knows the network but not the head; an adaptive one knows both.\n",
        bullets(head_alone(results)),
    ]
    for split, title in SPLITS.items():
        parts += [f"Split {title}:\n", tables.head_table(results, split)]
    return parts


def about(results: Record) -> list[str]:
    """What to mind, what differs and why, and what was trained on what."""
    meta = results.get("meta") or {}
    remarks = bullets(
        f"**{'AUC' if subject == 'auc' else subject[0].upper() + subject[1:]}.** {remark}"
        for subject, remark in REMARKS.items()
    )
    parts = [
        "## What to mind when reading these numbers\n",
        CAVEATS + bullets(_prevalence(results) + _patients(results)),
        "## What differs and why\n",
        WHY.format(remarks=remarks),
        _smaller(meta) + "\n",
        tables.settings_table(meta),
        "### Beats of each class\n",
        tables.counts_table(meta.get("data") or {}),
    ]
    for split, title in SPLITS.items():
        parts.append(f"### What was trained, split {title}\n")
        stored = any(row.get("split") == split for row in results.get("trainings") or ())
        parts.append(tables.trainings_table(results, split) if stored else not_run(None) + "\n")
    speed = results.get("speed")
    if speed:
        parts.append(
            f"Training the GAN takes in {number(speed.get('gan_beats_per_second'), ',.0f')} beats a second, "
            f"{percent(speed.get('share_bare'))}% of what the bare passes of its networks alone would "
            f"({speed.get('settings') or NOT_STORED}).\n"
        )
    else:
        parts.append("The speed of the GAN's training: not run: not in the stored results.\n")
    return parts


def _smaller(meta: Record) -> str:
    """Say which settings of this run fall short of the six-attack paper's."""
    settings, paper = meta.get("settings") or {}, TRAINING[SIX]
    tested = sum(COUNTS_AS_THE_TEXT_HAS_THEM.test.values())
    asked = {"epochs": ("epochs", paper.epochs), "per_class": ("beats a class", paper.beats_per_class),
             "folds_trained": ("folds", paper.folds), "test_beats": ("test beats", tested)}  # fmt: skip
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


def _prevalence(results: Record) -> list[str]:
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


def _patients(results: Record) -> list[str]:
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
