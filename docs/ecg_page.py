"""Write docs/ecg.md and its figures: two hardened heartbeat classifiers, and what attacks leave of them.

Run: python docs/ecg_page.py [--check]
     python docs/ecg_page.py --collect BEATS PATIENTS --frontier FILE [--model FOLDER] [--plain FOLDER]

Everything comes from docs/ecg-results.json, which --collect makes of the folders that benchmarks/robust_ecg.py
wrote. With --check nothing is written: it ends with 1 where the page or a figure is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ecg_figures import SPLITS, draw, drawn_from, image, shown
from ecg_findings import agreement, frontier, goals, over_eps, pictures, records, results
from ecg_goals import attacked, judge
from ecg_models import inputs, model, protocols, size
from ecg_numbers import share
from stamps import check

DOCS = Path(__file__).parent
STORED, PAGE = DOCS / "ecg-results.json", DOCS / "ecg.md"
Record = dict[str, Any]

HEAD = """\
# Heartbeats: two hardened classifiers

*Written by `python docs/ecg_page.py`; do not edit by hand.*

Both networks sort heartbeats of the MIT-BIH Arrhythmia Database into four classes. They were trained to keep their
answer when somebody changes the recording a little on purpose. This page says how well that works, by attackers who
know everything about the network.
"""

MEANINGS = """\
## What the numbers mean

- **Accuracy**: share of all beats answered rightly. Nine of ten beats are N, so rare classes hardly show in it.
- **Sensitivity** of a class: share of its beats that were found. **Positive predictivity**: share of the answers
  naming the class that were right.
- **F1** of a class joins the two (their harmonic mean: low where either is low). **Macro-F1** is the mean over the
  classes, each counting the same however rare. It runs from 0 to 1.
- **Under attack**: a beat counts as right only if it is answered rightly both as it is and after the attack. Each
  beat is attacked by itself, with the network and the true class known.
- **PGD-40x5**: forty small steps in the direction that hurts the network most, from five random starts.
  **AutoAttack**: four attacks of different kinds in turn; a beat stands only if all four fail.
- **Interval**: 95%, in parentheses. Patients are resampled, not beats, as beats of one patient are alike.
"""

LIMITS = """\
## What the attacker may do, and what this does not cover

The attacker may move **every value of every channel** by up to eps, up or down, each by itself: the figures of the
rhythm too, and in ways that contradict each other, such as one neighbour changed in one channel and not in another.
In this the attacker is stronger than someone who adds a small disturbance to the electrodes' signal, which changes
all channels together. It is not stronger in every way:

- Each wave is scaled to its own height. A disturbance of the raw signal changes that height as well, and can so move
  a scaled value by somewhat more than eps.
- Where the beats are is taken from the database's annotations. Someone who makes a detector miss a beat changes the
  intervals by far more than eps.

Not covered: a lead that falls off, other leads, other devices and sampling rates, larger noise, patients unlike those
of the database (47 people, recorded in Boston in the 1970s), paced beats. The channels look at later beats too, so
an answer comes a few seconds, or with the usual beat half a minute, after the beat.

Accuracy under attack is what these attacks left standing. It is no proof, and a stronger attack may lower it. These
are classifiers for engineers to study; neither is a medical device.
"""


def main() -> int:
    """Collect, write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where something is stale")
    parser.add_argument("--stored", type=Path, default=STORED, help="the results (default %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write (default %(default)s)")
    parser.add_argument("--collect", type=Path, nargs=2, metavar=("BEATS", "PATIENTS"), help="judged folders")
    parser.add_argument("--frontier", type=Path, help="the settings that were tried, as JSON")
    parser.add_argument("--model", type=Path, help="the hardened model of the split by beats, for pictures")
    parser.add_argument("--plain", type=Path, help="an ecg-cnn trained as usual, for pictures")
    options = parser.parse_args()
    if options.collect:
        from ecg_collect import collect

        beats, patients = options.collect
        collect(beats, patients, options.frontier, options.stored, model=options.model, plain=options.plain)
    stored = json.loads(options.stored.read_text(encoding="utf-8")) if options.stored.exists() else None
    text, figures = page(stored), shown(stored)
    if options.check:
        paths = {image(options.page, name): drawn_from(what) for name, what in figures.items()}
        return check(options.page, text, paths, "ecg_page.py")
    options.page.write_text(text, encoding="utf-8")
    for name, what in figures.items():
        draw(name, what, image(options.page, name))
    return 0


def page(stored: Record | None) -> str:
    """Put the page together."""
    stored = stored or {}
    parts = [HEAD, *(summary(split, stored.get(split)) for split in SPLITS), "", inputs(stored), MEANINGS]
    parts += [size(stored), protocols(stored), "## The two models\n"]
    parts += [model(split, stored) for split in SPLITS]
    parts += [results(stored), goals(stored), over_eps(stored), frontier(stored), agreement(stored), records(stored)]
    parts += [pictures(stored), LIMITS, conditions(stored)]
    return "\n".join(part for part in parts if part is not None).rstrip() + "\n"


def summary(split: str, result: Record | None) -> str:
    """Say in one line what came out."""
    if result is None:
        return f"- **Split {SPLITS[split]}**: not run."
    verdicts = judge(split, result)
    met = sum(verdict.status == "met" for verdict in verdicts)
    clean, strong = result["clean"], attacked(result, "pgd")
    under = "attack not run" if strong is None else f"{share(strong['accuracy'])} under attack"
    macro = "" if strong is None else f" (macro-F1 {clean['macro_f1']:.2f} and {strong['macro_f1']:.2f})"
    reached = "not run" if strong is None else f"{met} of {len(verdicts)}"
    open_still = sum(verdict.status not in ("met", "missed") for verdict in verdicts)
    reached += f", {open_still} not measured to the end" if strong is not None and open_still else ""
    return f"- **Split {SPLITS[split]}**: {share(clean['accuracy'])} right, {under}{macro}; goals met: {reached}."


def conditions(stored: Record) -> str:
    """Say where and how it was measured."""
    present = [stored[split] for split in SPLITS if split in stored]
    if not present:
        return "Nothing is stored yet: `python docs/ecg_page.py --collect` gathers results.\n"
    hours = sum(part["seconds"] for result in present for part in result["attacked"].values()) / 3600
    folds = max(result["fold_error"] for result in present)
    versions = ", ".join(dict.fromkeys(f"torch {result['torch']}, numpy {result['numpy']}" for result in present))
    return "\n".join((
        "## How it was measured",
        "",
        f"{stored.get('machine', 'machine not stored')}; {versions}; single runs, seed "
        f"{present[0]['hardening']['seed']}; attacks took {hours:.1f} hours in all. They were computed on a copy of "
        f"each network with its normalisation folded into its convolutions (outputs differ by at most {folds:.0e}) and "
        "judged on the network itself.",
        "",
    ))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
