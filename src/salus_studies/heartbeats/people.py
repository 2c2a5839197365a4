"""What docs/ecg.md says of the network between patients alone: why it is built so, luck, millivolts, other people's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from salus.metrics.wording import NOTHING, percent, rate
from salus_studies.frame.markdown import Record, bullets, ruled_table
from salus_studies.frame.page import Show
from salus_studies.heartbeats.measured import CLASSES

WHY = """\
## Why the network between patients is built so

Two of these reasons, the mean and S told by timing alone, came after exploratory runs had been seen on DS2 (listed
below); folds of DS1 had rated a network that sees shape and timing together higher. All else was chosen on DS1, and all
of it was written down before DS2 was opened for this network:

- **S is defined by its timing.** A supraventricular premature beat has the shape of a normal one. A network that sees
  shape and timing together learns from shapes which of its training patients have many S, and finds them in nobody
  else. So N and S are told apart by timing alone, by a quadratic function of three figures: the interval before and
  after, each over the record's mean, and the irregularity of the rhythm around.
- **Over the mean, not the median**: where most beats are premature (record 232 of DS2, seen in an earlier opening), the
  premature beat is the median.
- **Irregularity** tells premature beats in a steady rhythm from atrial fibrillation, in which every other beat is
  early and N all the same. Pairs of neighbouring intervals fall into few clusters in the one, all over in the other.
- **V and F have another shape than the patient's own sinus beat**, which is found in the record without labels: the
  mean of the beats that come when they are expected and look alike. Both leads are read, by name; each beat is shifted
  by up to 39 ms to fit, as marks do not always stand on the same point of a wave.
- **F** is a ventricular beat at the time of a normal one, so the second stage sees timing too. Nine of ten F of DS1 are
  one person's, and nine of ten of DS2 another's: no choice could be made for it.
- Waves are stretched, turned over and left out at random in training, as people and electrodes differ in that.
- The record is read as a whole, beats after the one that is asked about too, but no label: a use after the recording
  has ended. What a monitor can do while it runs, by channels of the past alone, stands among the rivals below.
"""


def luck(result: Record | None) -> Iterator[str]:
    """Show every seed, and the same network without hardening."""
    yield "## Luck, and the price of robustness\n"
    rows = [] if result is None else result.get("seeds") or []
    if not rows:
        yield "not run\n"
        return
    yield (
        "The network between patients, trained again from other seeds (all are shown, the page judges the first), and "
        "the same, from one seed, without any attack in training. Test beats of DS2, PGD of 20 steps from one start at "
        "eps "
        f"{rows[0]['eps']:g}; F1 of each class, clean → under attack.\n"
    )
    yield _seeds_table(rows)
    for method, words in (("hardened", "Hardened"), ("ordinary", "Not hardened")):
        of_method = [row for row in rows if row["method"] == method]
        if len(of_method) > 1:
            yield f"{words}, {len(of_method)} seeds: {_spread(of_method)}.\n"


def _seeds_table(rows: Sequence[Record]) -> str:
    cells = []
    for row in rows:
        clean, attacked = row["clean"], row["attacked"]
        cells.append(
            [
                "hardened" if row["method"] == "hardened" else "not hardened",
                str(row["seed"]),
                f"{percent(clean['accuracy'])} → {percent(attacked['accuracy'])}",
                f"{clean['macro_f1']:.3f} → {attacked['macro_f1']:.3f}",
                *(f"{clean['f1'][name]:.2f} → {attacked['f1'][name]:.2f}" for name in CLASSES),
                " / ".join(f"{clean['without'][record]:.3f}" for record in ("232", "213")),
            ]
        )
    header = "| seed | accuracy, % | macro-F1 | " + " | ".join(CLASSES) + " | clean macro-F1 without record 232 / 213 |"
    return ruled_table(header, "---|---:|---:|---:|" + "---:|" * (len(CLASSES) + 1), cells)


def _spread(rows: Sequence[Record]) -> str:
    words = []
    for part, name in (("clean", "clean"), ("attacked", "under attack")):
        values = [row[part]["macro_f1"] for row in rows]
        s = [row[part]["f1"]["S"] for row in rows]
        words.append(
            f"macro-F1 {name} {mean(values):.3f} ({min(values):.3f} to {max(values):.3f}), F1 of S {mean(s):.2f} "
            f"({min(s):.2f} to {max(s):.2f})"
        )
    return "; ".join(words)


def millivolts(result: Record | None, show: Show) -> Iterator[str]:
    """Show attacks on whole recordings."""
    yield "## In millivolts\n"
    yield (
        "Here the attacker disturbs the two-lead signal of a whole test record, every sample by at most so many "
        "microvolts, and every beat sees it through the channels that it is shown in, its neighbours and the record's "
        "sinus beat too. They know the network, the preparation and every true class, and climb through both, to lose "
        "as large a share of each class of the record as they can (not macro-F1 over all records, which they could "
        "lower more by choosing whom to spare); a beat counts as right if it is answered rightly before and after. "
        "**Blind** is a change as large, of samples and R peaks, in random order and direction. `smooth`: no saw teeth "
        "(the Gaussian kernels of Han et al., 2020); `jitter`: R peaks may first stand 5 samples (14 ms) before or "
        "behind their marks, whichever hurts a beat and its neighbours most; alone, that is all that is done. `apgd`: "
        "Auto-PGD (Croce and Hein, 2020) with the recording as its one sample, up the mean cross-entropy (`ce`) or "
        "difference of logits ratio (`dlr`) of its beats, every class counting the same. `square`: random windows at "
        "all beats side by side, seeing logits alone; its steps are answers. `uap`: one waveform for everybody, 5 s "
        "long and repeated, or 0.8 s and beginning anew at every beat (`beats`); it is fitted on the records of DS1, "
        "in so many steps, and knows nothing of those that it is added to. One start each.\n"
    )
    rows = [] if result is None else result.get("millivolts") or []
    if not rows:
        yield "not run\n"
        return
    yield show("ecg-millivolts", "Macro-F1 over microvolts")
    yield _millivolts_table(rows)
    from salus_studies.heartbeats.millivolts import ATTACKS

    missing = [f"`{name}`" for name in ATTACKS if all(row["attack"] != name for row in rows)]
    if missing:
        yield f"Not run: {', '.join(missing)}.\n"


def _millivolts_table(rows: Sequence[Record]) -> str:
    cells = []
    for row in rows:
        sensitivity = {each["class"]: each["sensitivity"] for each in row["per_class"]}
        cells.append(
            [
                f"`{row['attack']}`",
                f"{row['microvolts']:g}",
                f"{row['microvolts'] / 1500:.1%}",
                str(row["steps"] or NOTHING),
                rate(row, "accuracy"),
                f"{row['macro_f1']:.3f}",
                " / ".join(percent(sensitivity[name]) for name in CLASSES),
            ]
        )
    header = "attack | µV | of a 1.5 mV beat | steps | accuracy, % | macro-F1 | sensitivity N / S / V / F, % |"
    return ruled_table(header, "---|---:|---:|---:|---:|---:|---|", cells)


def published() -> Iterator[str]:
    """Show what others reached between patients."""
    stored = _stored("published.json")
    yield "## What others reached between patients\n"
    yield (
        "DS1 to DS2 as published (which puts one patient on both sides), clean beats; none says what an attack leaves. "
        "Macro-F1 over four classes, where it is about, is worked out from their tables. Sensitivity and positive "
        "predictivity of S in percent.\n"
    )
    rows = [[row["who"], row["s"], row["macro_f1"], row["remark"]] for row in stored]
    yield ruled_table("| S: Se / +P | macro-F1 | |", "---|---:|---:|---|", rows)


def openings() -> Iterator[str]:
    """List each time that the test patients were looked at."""
    yield "## Each opening of DS2\n"
    yield bullets(f"{row['date']}: {row['what']}" for row in _stored("openings.json"))


def _stored(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return rows
