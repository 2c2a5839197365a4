"""The second half of docs/ecg.md: what was found, the goals, the curve, the settings, the records, the pictures."""

from __future__ import annotations

from typing import Any

from ecg_figures import SPLITS, curve
from ecg_goals import NATURAL, ON_VALIDATION, Verdict, attacked, judge, under_auto_attack
from ecg_numbers import CLASSES, HEIGHT, arrow, between, ends, share

Record = dict[str, Any]

AUTO_ATTACK = f"""\
AutoAttack is slow: accuracy under it is that of {NATURAL:,} test beats drawn as they come. Beside them it attacked
further S, V and F beats, which count in the table of classes alone. So its rows are not of the same beats as the
others, and differ by chance too."""

EC57 = """\
In the manner of ANSI/AAMI EC57, the standard for reporting arrhythmia detectors: sensitivity (Se) and positive
predictivity (+P) in percent, clean → under PGD-40x5. **Gross** pools all beats; in the **average** every record counts
the same. The answer to the attacked beat counts here, whatever the clean one was, and a fusion beat answered V is no
false V. “–”: no such beats or answers. Records 201 and 202 are of one patient, and stand in one row as 201."""


def results(stored: Record) -> str:
    """Show accuracy, then classes."""
    lines = ["## Results", "", "| split | beats as they are, or under | beats | accuracy | macro-F1 |"]
    lines.append("|---|---|---:|---:|---:|")
    for split, words in SPLITS.items():
        result = stored.get(split)
        for name, title in (("clean", "clean"), ("pgd", "PGD-40x5"), ("autoattack", "AutoAttack")):
            part = None if result is None else result["clean"] if name == "clean" else attacked(result, name)
            if part is None:
                lines.append(f"| {words} | {title} | | not run | not run |")
            else:
                lines.append(f"| {words} | {title} | {part['n']:,} | {between(part)} | {part['macro_f1']:.3f} |")
    lines += ["", AUTO_ATTACK, ""]
    for split in SPLITS:
        lines += by_class(split, stored.get(split))
    return "\n".join(lines)


def by_class(split: str, result: Record | None) -> list[str]:
    """Show each class's figures."""
    if result is None:
        return [f"Classes, split {SPLITS[split]}: not run.", ""]
    strong, pooled = attacked(result, "pgd"), under_auto_attack(result)
    lines = [
        f"Classes, split {SPLITS[split]} (sensitivity and positive predictivity in percent):",
        "",
        "| class | beats | patients | sensitivity | under PGD-40x5 | under AutoAttack (beats) | positive predictivity "
        "| under PGD-40x5 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["clean"]["per_class"]:
        name = row["class"]
        under = next((one for one in strong["per_class"] if one["class"] == name), None) if strong else None
        left = f"{100 * pooled[name][0]:.1f} ({pooled[name][1]:,})" if name in pooled else "not run"
        cells = (
            name,
            f"{row['n']:,}",
            "–" if row["patients"] is None else str(row["patients"]),
            between(row, "sensitivity"),
            "not run" if under is None else between(under, "sensitivity"),
            left,
            between(row, "positive_predictivity"),
            "not run" if under is None else between(under, "positive_predictivity"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def goals(stored: Record) -> str:
    """Hold the goals against what was found."""
    lines = ["## The goals, set beforehand", "", "| split | goal | found | |", "|---|---|---|---|"]
    binding = []
    for split, words in SPLITS.items():
        verdicts = judge(split, stored.get(split))
        for verdict in verdicts:
            status = verdict.status if verdict.status in ("met", "not run") else f"**{verdict.status}**"
            lines.append(f"| {words} | {goal(verdict)} | {found(verdict)} | {status} |")
        binding += [f"- Split {words}, {bound(verdict)}" for verdict in verdicts if verdict.status == "missed"]
    lines += ["", "Sensitivity under attack is the lower of those under PGD-40x5 and, where it attacked all beats"]
    lines += ["of the class, AutoAttack.", ""]
    return "\n".join((*lines, *(("What binds where a goal is missed:", "", *binding, "") if binding else ())))


def goal(verdict: Verdict) -> str:
    """Write a goal with its bar."""
    if not verdict.bar:
        return verdict.words
    return f"{verdict.words} ≥ {100 * verdict.bar:g}%" if verdict.share else f"{verdict.words} ≥ {verdict.bar:.2f}"


def found(verdict: Verdict) -> str:
    """Write what was found, with as many digits as tell it from the bar."""
    if verdict.value is None:
        return "not run"
    if not verdict.share:
        return apart(verdict.value, verdict.bar, 2)
    words = f"{apart(100 * verdict.value, 100 * verdict.bar, 1)}%"
    return words if verdict.low is None or verdict.high is None else f"{words} {ends(verdict.low, verdict.high)}"


def apart(value: float, bar: float, digits: int) -> str:
    """Write a number with enough digits that one below the bar is not rounded onto it."""
    while value < bar and digits < 6 and float(f"{value:.{digits}f}") >= round(bar, 6):
        digits += 1
    return f"{value:.{digits}f}"


def bound(verdict: Verdict) -> str:
    """Say what binds."""
    if not verdict.bar:
        return f"{verdict.words}: {verdict.binds}."
    short = f"{100 * verdict.short_by:.2g} points" if verdict.share else f"{verdict.short_by:.2g}"
    inside = ""
    if verdict.high is not None:
        reach = "reaches the goal" if verdict.high >= verdict.bar else "lies below the goal"
        inside = f"; the interval {reach}"
    return f"{verdict.words}: short by {short}{inside}. {verdict.binds[:1].upper()}{verdict.binds[1:]}."


def over_eps(stored: Record) -> str:
    """Show accuracy over eps."""
    lines = ["## Larger changes", ""]
    lines_of = {split: curve(stored[split]) for split in SPLITS if split in stored}
    sizes = sorted({point["eps"] for line in lines_of.values() for point in line})
    if not any(len(line) > 2 for line in lines_of.values()):
        return "\n".join((*lines, "The curve over eps: not run.", ""))
    lines += ["![Accuracy and macro-F1 over eps](images/ecg-curve.png)", ""]
    heads = " | ".join(f"{words}: accuracy | macro-F1 | beats" for words in SPLITS.values())
    lines += [f"| eps | of a {HEIGHT} mV beat, mV | {heads} |", "|---:|---:|" + "---:|---:|---:|" * len(SPLITS)]
    for eps in sizes:
        cells = [f"{eps:g}", f"{eps * HEIGHT:.4f}".rstrip("0").rstrip(".")]
        for split in SPLITS:
            point = next((one for one in lines_of.get(split, ()) if one["eps"] == eps), None)
            cells += ["not run", "", ""] if point is None else [
                between(point), f"{point['macro_f1']:.3f}", f"{point['n']:,}"
            ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    note = "PGD-40x5, on beats drawn as they come where not on all; eps 0 is no attack."
    trained = {split: trained_eps(stored[split]) for split in lines_of}
    known = ", ".join(f"{eps:g} (split {SPLITS[split]})" for split, eps in trained.items() if eps)
    return "\n".join((*lines, "", note + (f" Training attacked within {known}." if known else ""), ""))


def trained_eps(result: Record) -> float | None:
    """Find the eps that training attacked with."""
    attack = ((result["hardening"]["model"]["training"].get("recipe") or {}).get("attack")) or {}
    return attack.get("eps")


def frontier(stored: Record) -> str:
    """Show the settings that were tried on validation data, and why one was chosen."""
    lines = ["## How the settings were chosen", ""]
    tried = stored.get("frontier") or []
    if not tried:
        return "\n".join((*lines, "not run", ""))
    lines += ["Judged on validation data. Broken lines in the figure are the goals, numbers"]
    lines += ["the rows of the tables.", "", "![What each setting reached](images/ecg-frontier.png)", ""]
    for split, words in SPLITS.items():
        own = [one for one in tried if one["split"] == split]
        if not own:
            lines += [f"Split {words}: not run.", ""]
            continue
        judged = "; ".join(dict.fromkeys(one["judged_on"] for one in own))
        lines += [f"Split {words}, judged on: {judged}.", ""]
        lines += [
            "| | setting | clean accuracy | under attack | clean macro-F1 | under attack "
            "| sensitivity under attack, N / S / V / F | |",
            "|---:|---|---:|---:|---:|---:|---|---|",
        ]
        for number, one in enumerate(own, 1):
            found_share = " / ".join(share(one["sensitivity_attacked"].get(name)) for name in CLASSES)
            cells = (
                str(number), f"`{one['setting']}`", share(one["clean_accuracy"]), share(one["robust_accuracy"]),
                f"{one['clean_macro_f1']:.3f}", f"{one['robust_macro_f1']:.3f}", found_share,
                " ".join(
                    word for word, so in (("**chosen**", one["chosen"]), ("**judged above**", one.get("in_use"))) if so
                ),
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", why(split, own), *elsewhere(own), ""]
    return "\n".join(lines)


def why(split: str, own: list[Record]) -> str:
    """Say in what the chosen setting is best, and whether any promised the goals."""
    measures = {
        "clean_accuracy": "accuracy on clean beats",
        "robust_accuracy": "accuracy under attack",
        "clean_macro_f1": "macro-F1 on clean beats",
        "robust_macro_f1": "macro-F1 under attack",
    }
    values = {key: [one[key] for one in own] for key in measures}
    measures["lowest"] = "sensitivity of its weakest class under attack"
    values["lowest"] = [min(one["sensitivity_attacked"].values(), default=0.0) for one in own]
    chosen = next((place for place, one in enumerate(own) if one["chosen"]), None)
    (clean, clean_bar), (robust, robust_bar) = ON_VALIDATION[split]
    both = [str(place + 1) for place, one in enumerate(own) if one[clean] >= clean_bar and one[robust] >= robust_bar]
    promised = f"Reaching both goals there: {', '.join(both)}." if both else "None reached both goals there."
    if chosen is None:
        return f"None is marked as chosen. {promised}"
    best = [words for key, words in measures.items() if values[key][chosen] == max(values[key])]
    better = [
        str(place + 1)
        for place in range(len(own))
        if place != chosen and all(values[key][place] > values[key][chosen] for key in measures)
    ]
    reason = f"has the highest {', '.join(best)} of all {len(own)}" if best else "is highest in none of these figures"
    beaten = f"; {', '.join(better)} is better in all of them" if better else ""
    tail = "" if best or better else "; no other is better in all of them"
    return f"Setting {chosen + 1} was chosen: it {reason}{beaten}{tail}. {promised}"


def elsewhere(own: list[Record]) -> list[str]:
    """Say so where the model judged on the page is not the one that this comparison chooses."""
    used = next((place + 1 for place, one in enumerate(own) if one.get("in_use") and not one["chosen"]), None)
    if used is None:
        return []
    return [
        f"The model judged on this page is setting {used}, not the chosen one: it had been trained, and judged on the "
        "test beats, before the settings were compared. None of the others was judged on the test beats."
    ]


def agreement(stored: Record) -> str:
    """Compare with somebody else's AutoAttack."""
    lines = ["## A second opinion", ""]
    for split, words in SPLITS.items():
        both = (stored.get(split) or {}).get("agreement")
        if not both:
            lines.append(f"- Split {words}: not run.")
            continue
        difference = 100 * (both["ours"] - both["pyautoattack"])
        within = "within" if abs(difference) <= 1 + 1e-9 else "**not within**"
        lines.append(
            f"- Split {words}: the library pyautoattack, which is not ours, leaves {share(both['pyautoattack'])} of "
            f"{both['n']} beats right, Salus's AutoAttack {share(both['ours'])} of the same: {difference:+.1f} points, "
            f"{within} 1 point."
        )
    return "\n".join((*lines, ""))


def records(stored: Record) -> str:
    """Show the tables of each record in the manner of EC57."""
    lines = ["## Record by record", ""]
    lines += [EC57, ""]
    for split, words in SPLITS.items():
        table = (stored.get(split) or {}).get("ec57")
        lines += [f"### Split {words}, records", ""]
        if not table:
            lines += ["not run", ""]
            continue
        each = [row for row in table if row["kind"] == "record"]
        lines += [*ec57([row for row in table if row["kind"] != "record"]), ""]
        lines += [f"<details><summary>All {len(each)} records</summary>", "", *ec57(each), "", "</details>", ""]
    return "\n".join(lines)


def ec57(rows: list[Record]) -> list[str]:
    """Show rows of the table."""
    heads = " | ".join(f"{name} | Se | +P" for name in CLASSES)
    lines = [f"| record | beats | {heads} |", "|---|---:|" + "---:|---:|---:|" * len(CLASSES)]
    for row in rows:
        cells = [row["record"], f"{row['beats']:,}"]
        for name in CLASSES:
            one = row["classes"][name]
            cells.append(f"{one['beats']:,}")
            cells += [arrow(one[key], one[f"{key}_attacked"]) for key in ("sensitivity", "positive_predictivity")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def pictures(stored: Record) -> str:
    """Show beats before and after."""
    lines = ["## What an attacked beat looks like", ""]
    examples = stored.get("examples")
    if not examples:
        return "\n".join((*lines, "not run", ""))
    titles = {
        "hardened": "the hardened network of the split by beats",
        "plain": "an `ecg-cnn` trained as usual, on the beat alone",
    }
    lines += [
        f"The first test beat of each class, moved by at most {examples['eps']:g}; below it the change, ten times",
        "as large. `noise` is as large as the attacks, but blind. CW looks for the smallest change that succeeds.",
        "",
    ]
    for name, title in titles.items():
        if name not in examples["attacked"]:
            lines += [f"Against {title}: not run.", ""]
            continue
        answers = examples["answers"][name]
        fell = [
            f"{attack} {sum(after != truth for after, truth in zip(answers[attack], examples['classes'], strict=True))}"
            for attack in ("clean", *examples["attacks"])
        ]
        lines += [f"Against {title}; wrong answers, of {len(examples['classes'])}: {', '.join(fell)}.", ""]
        lines += [f"![Clean and attacked beats, {name}](images/ecg-beats-{name}.png)", ""]
    return "\n".join(lines)
