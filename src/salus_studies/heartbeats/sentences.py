"""The sentences of docs/ecg.md, the fixed ones and those that follow the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salus.metrics.wording import percentage
from salus_studies.frame.markdown import Record
from salus_studies.heartbeats.goals import NATURAL, ON_VALIDATION, GoalVerdict, judge
from salus_studies.heartbeats.measured import SPLITS, TOLD, attacked, mean_f1, measured_splits

HEAD = """\
# Heartbeats: two hardened classifiers

*Written by `salus reproduce heartbeats --rebuild`; do not edit by hand.*

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
- **PGD-40x5**: forty small steps in the direction that hurts the network most, from five random starts. When this was
  measured by beats all steps were equally long, 2.5 eps / 40 (`schedule=madry`); by patients they fall along a
  cosine, today's default, which is stronger.
  **AutoAttack**: four attacks of different kinds in turn; a beat stands only if all four fail.
- **Interval**: 95%, in parentheses. Patients are resampled, not beats, as beats of one patient are alike.
"""

UNDER_ATTACK = """\
Sensitivity under attack is the lower of those under PGD-40x5 and, where it attacked all beats
of the class, AutoAttack.
"""

SETTINGS = """\
## How the settings were chosen

Judged on data that are not the test's. Broken lines in the figure are the goals, numbers the rows of the tables.
"""

EC57 = """\
## Record by record

In the manner of ANSI/AAMI EC57, the standard for reporting arrhythmia detectors: sensitivity (Se) and positive
predictivity (+P) in percent, clean → under PGD-40x5. **Gross** pools all beats; in the **average** every record counts
the same. The answer to the attacked beat counts here, whatever the clean one was, and a fusion beat answered V is no
false V. “–”: no such beats or answers. Records 201 and 202 are of one patient, and stand in one row as 201.
"""

LIMITS = """\
## What the attacker may do, and what this does not cover

The attacker may move **every value of every channel** by up to eps, up or down, each by itself: the figures of the
rhythm too, and in ways that contradict each other, such as one neighbour changed in one channel and not in another.
In this the attacker is stronger than someone who adds a small disturbance to the electrodes' signal, which changes
all channels together. It is not stronger in every way:

- Each wave is scaled to its own height, between patients to that of the record's sinus beat. A disturbance of the raw
  signal changes that height as well, and can so move a scaled value by somewhat more than eps.
- Where the beats are is taken from the database's annotations. Someone who makes a detector miss a beat changes the
  intervals by far more than eps.

What it comes to in millivolts, between patients, stands above.

Not covered: a lead that falls off, other leads, other devices and sampling rates, larger noise, patients unlike those
of the database (47 people, recorded in Boston in the 1970s), paced beats. The channels look at later beats too, so
an answer comes a few seconds, with the usual beat half a minute after the beat, and between patients after the record.

Not measured either: rivals in millivolts; one stage on two leads; a monitor whose beats a detector finds as it goes.

Accuracy under attack is what these attacks left standing. It is no proof, and a stronger attack may lower it. These
are classifiers for engineers to study; neither is a medical device.
"""


def auto_attack(results: Record) -> str:
    """Say on which beats AutoAttack ran."""
    whole = [words for split, words in SPLITS.items() if attacked(results.get(split), "autoattack-rest") is not None]
    beside = (
        f" In the split {' and '.join(whole)} it attacked all other S, V and F beats beside them, which count in the "
        "table of classes alone."
        if whole
        else ""
    )
    return (
        f"AutoAttack is slow: accuracy under it is that of {NATURAL:,} test beats drawn as they come.{beside} So its "
        "rows are not of the same beats as the others, and differ by chance too.\n"
    )


def summary(results: Record) -> Iterator[str]:
    """Say in one line for each split what came out."""
    for split, words in SPLITS.items():
        result = results.get(split)
        yield f"**Split {words}**: {'not run' if result is None else _outcome(split, result)}."


def _outcome(split: str, result: Record) -> str:
    clean, strong = result["clean"], attacked(result, "pgd")
    if strong is None:
        return f"{percentage(clean['accuracy'])} right, attack not run; goals met: not run"
    verdicts = judge(split, result)
    met = sum(verdict.status == "met" for verdict in verdicts)
    unfinished = sum(verdict.status not in ("met", "missed") for verdict in verdicts)
    return (
        f"{percentage(clean['accuracy'])} right, {percentage(strong['accuracy'])} under attack "
        f"(macro-F1 {clean['macro_f1']:.2f} and {strong['macro_f1']:.2f}); goals met: {met} of {len(verdicts)}"
        f"{f', {unfinished} not measured to the end' if unfinished else ''}"
    )


def missed_goals(results: Record) -> Iterator[str]:
    """Say of each goal that is missed by how much, and what binds."""
    for split, words in SPLITS.items():
        for verdict in judge(split, results.get(split)):
            if verdict.status == "missed":
                yield f"Split {words}, {_bound(verdict)}"


def _bound(verdict: GoalVerdict) -> str:
    if not verdict.bar:
        return f"{verdict.words}: {verdict.binds}."
    short = f"{100 * verdict.short_by:.2g} points" if verdict.share else f"{verdict.short_by:.2g}"
    interval = ""
    if verdict.high is not None:
        interval = f"; the interval {'reaches' if verdict.high >= verdict.bar else 'lies below'} the goal"
    return f"{verdict.words}: short by {short}{interval}. {verdict.binds[:1].upper()}{verdict.binds[1:]}."


def chosen_setting(split: str, settings: Sequence[Record]) -> str:
    """Say in what the chosen setting is best, and whether any promised the goals."""
    measures = {
        "clean_accuracy": "accuracy on clean beats",
        "robust_accuracy": "accuracy under attack",
    }
    values = {key: [setting[key] for setting in settings] for key in measures}
    for word, of in (("clean", "on clean beats"), ("robust", "under attack")):
        measures[word] = f"mean F1 {of}"
        values[word] = [mean_f1(setting, word) for setting in settings]
    measures["lowest"] = "sensitivity of its weakest class under attack"
    told = TOLD if settings[0].get("clean_f1") else tuple(settings[0]["sensitivity_attacked"])
    values["lowest"] = [
        min((setting["sensitivity_attacked"][name] for name in told), default=0.0) for setting in settings
    ]
    chosen = next((place for place, setting in enumerate(settings) if setting["chosen"]), None)
    promise = _promise(split, settings)
    if chosen is None:
        return f"None is marked as chosen. {promise}"
    best = [words for key, words in measures.items() if values[key][chosen] == max(values[key])]
    better = [
        str(place + 1)
        for place in range(len(settings))
        if place != chosen and all(values[key][place] > values[key][chosen] for key in measures)
    ]
    reason = (
        f"has the highest {', '.join(best)} of all {len(settings)}" if best else "is highest in none of these figures"
    )
    rivals = f"; {', '.join(better)} is better in all of them" if better else ""
    tail = "" if best or better else "; no other is better in all of them"
    return f"Setting {chosen + 1} was chosen: it {reason}{rivals}{tail}. {promise}"


def _promise(split: str, settings: Sequence[Record]) -> str:
    if split not in ON_VALIDATION:
        return "The choice rests on the mean F1 of N, S and V; single runs of one seed, whose spread was not measured."
    (clean, clean_bar), (robust, robust_bar) = ON_VALIDATION[split]
    both = [
        str(number)
        for number, setting in enumerate(settings, 1)
        if setting[clean] >= clean_bar and setting[robust] >= robust_bar
    ]
    return f"Reaching both goals there: {', '.join(both)}." if both else "None reached both goals there."


def judged_setting(settings: Sequence[Record]) -> str | None:
    """Say so where the model judged on the page is not the one that this comparison chooses."""
    in_use = (number for number, setting in enumerate(settings, 1) if setting.get("in_use") and not setting["chosen"])
    number = next(in_use, None)
    if number is None:
        return None
    return (
        f"The model judged on this page is setting {number}, not the chosen one: it had been trained, and judged on "
        "the test beats, before the settings were compared. None of the others was judged on the test beats."
    )


def second_opinions(results: Record) -> Iterator[str]:
    """Compare with somebody else's AutoAttack."""
    for split, words in SPLITS.items():
        both = (results.get(split) or {}).get("agreement")
        if not both:
            yield f"Split {words}: not run."
            continue
        difference = 100 * (both["ours"] - both["pyautoattack"])
        within = "within" if abs(difference) <= 1 + 1e-9 else "**not within**"
        yield (
            f"Split {words}: the library pyautoattack, which is not ours, leaves {percentage(both['pyautoattack'])} of "
            f"{both['n']} beats right, Salus's AutoAttack {percentage(both['ours'])} of the same: {difference:+.1f} "
            f"points, {within} 1 point."
        )


def wrong_answers(examples: Record, model: str) -> str:
    """Count the wrong answers to the beats of the pictures."""
    classes, answers = examples["classes"], examples["answers"][model]
    counts = [
        f"{attack} {sum(answer != truth for answer, truth in zip(answers[attack], classes, strict=True))}"
        for attack in ("clean", *examples["attacks"])
    ]
    return f"wrong answers, of {len(classes)}: {', '.join(counts)}"


def conditions(results: Record) -> str:
    """Say where and how it was measured."""
    measured = list(measured_splits(results).values())
    hours = sum(part["seconds"] for result in measured for part in result["attacked"].values()) / 3600
    folds = max(result["fold_error"] for result in measured)
    versions = ", ".join(dict.fromkeys(f"torch {result['torch']}, numpy {result['numpy']}" for result in measured))
    return (
        f"{results.get('machine', 'machine not stored')}; {versions}; single runs, seed "
        f"{measured[0]['hardening']['seed']}, apart from the table of seeds; attacks on beats took {hours:.1f} hours "
        "in all. They were computed on a copy of each network with its normalisation folded into its convolutions "
        f"(outputs differ by at most {folds:.0e}) and judged on the network itself.\n"
    )
