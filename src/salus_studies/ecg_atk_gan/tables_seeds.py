"""Tables on what the untrained network decides: DBB and HSJ by its seed, and what all copies do to clean training."""

from __future__ import annotations

import numpy as np

from salus.metrics.wording import NOTHING, percent, signed
from salus_studies.ecg_atk_gan.attacked import LOTTERY
from salus_studies.ecg_atk_gan.naming import COLUMNS, column_name, marked_name, trained_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, FOUR, SIX, PaperName, classification
from salus_studies.frame.markdown import Record, done, find, markdown, not_run, span


def again_of(results: Record, attack: str, architecture: str, on: str, paper: PaperName = SIX) -> Record | None:
    """What a network answers to copies made on untrained networks of several seeds."""
    preset = {"preset": paper} if architecture == "proposed" else {}
    return find(results.get("again"), attack=attack, architecture=architecture, trained_on=on, **preset)


def seeds_of(results: Record, attack: str) -> list[Record]:
    """What copies were made on the untrained networks, a row a seed."""
    return [row for row in results.get("seeds") or () if row.get("attack") == attack and done(row)]


def unchanged_table(results: Record) -> str:
    """How many beats DBB and HSJ leave alone, by the seed of the untrained network."""
    rows = []
    for attack in LOTTERY:
        shares = [float(row["unchanged"]) for row in seeds_of(results, attack)]
        if not shares:
            rows.append([column_name(attack), not_run(None), *[NOTHING] * 3])
            continue
        beats = seeds_of(results, attack)[0]["n"]
        all_of_them = ", ".join(percent(share) for share in shares)
        figures = [f"{len(shares)} on {beats:,} beats", span(shares), percent(float(np.mean(shares))), all_of_them]
        rows.append([column_name(attack), *figures])
    return markdown(["attack", "seeds", "unchanged: lowest to highest", "mean", "each"], rows)


def lottery_table(results: Record) -> str:
    """What each network answers on DBB and HSJ, as the papers count: lowest to highest over the seeds."""
    rows = []
    for attack in LOTTERY:
        for architecture in ARCHITECTURES:
            printed = classification(SIX, COLUMNS[attack], architecture)
            for on in ("none", attack):
                row = again_of(results, attack, architecture, on)
                whose = [column_name(attack), marked_name(architecture), trained_name(on)]
                theirs = NOTHING if printed is None else f"{printed.accuracy:.1f}"
                if row is None or not done(row) or not row["seeds"]:
                    rows.append([*whose, theirs, not_run(row), NOTHING, NOTHING])
                    continue
                counted = [float(one["paper_accuracy"]) for one in row["seeds"]]
                right = [float(one["accuracy"]) for one in row["seeds"]]
                inside = printed is not None and 100 * min(counted) <= printed.accuracy <= 100 * max(counted)
                rows.append([*whose, theirs, span(counted), span(right), "yes" if inside else "no"])
    header = ["attack", "architecture", "trained on", "six attacks", "**ours, as they count**", "right answers"]
    return markdown([*header, "the paper's lies within"], rows, 3)


def clean_training_table(results: Record) -> str:
    """Points that networks trained on clean beats lose on the released copies, and that the papers' columns do."""
    rows = []
    for architecture in ARCHITECTURES:
        for attack in list(COLUMNS)[1:5]:
            row = again_of(results, attack, architecture, "none")
            line = [column_name(attack), marked_name(architecture)]
            for paper in (FOUR, SIX):
                printed, clean = (classification(paper, name, architecture) for name in (COLUMNS[attack], None))
                lost = None if printed is None or clean is None else clean.accuracy - printed.accuracy
                line.append(NOTHING if lost is None else signed(-lost))
            if row is None or not done(row) or not row["seeds"]:
                rows.append([*line, not_run(row), NOTHING])
                continue
            clean_share, shown = row["clean"]["paper_accuracy"], row["seeds"][0]["paper_accuracy"]
            rows.append([*line, signed(100 * (shown - clean_share)), percent(clean_share)])
    rows.sort(key=lambda row: [column_name(name) for name in COLUMNS].index(row[0]))
    header = ["attack", "architecture", "four attacks", "six attacks"]
    return markdown([*header, "**ours, trained on clean beats**", "ours, clean beats"], rows, 2)
