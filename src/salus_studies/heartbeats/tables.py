"""The tables of docs/ecg.md."""

from __future__ import annotations

from collections.abc import Sequence

from salus.metrics.wording import NOTHING, interval, percent, percentage, rate
from salus.preprocessing.context import CHANNELS
from salus_studies.frame.markdown import Record, ruled_table
from salus_studies.heartbeats.goals import GoalVerdict, judge
from salus_studies.heartbeats.measured import (
    CLASSES,
    HEIGHT,
    SPLITS,
    TOLD,
    attacked,
    channels,
    curves,
    mean_f1,
    measured_splits,
    under_auto_attack,
)


def channels_table(results: Record) -> str:
    """Show what each channel shows, and who reads it."""
    inputs = {split: channels(result) for split, result in measured_splits(results).items()}
    rows = []
    for name, words in CHANNELS.items():
        readers = [SPLITS[split] for split, names in inputs.items() if name in names]
        if readers or not inputs:
            rows.append([f"`{name}`", words, " and ".join(readers) or "not run"])
    return ruled_table("channel | what it shows | read by |", "---|---|---|", rows)


def results_table(results: Record) -> str:
    """Show accuracy and macro-F1, clean and under the strongest attacks."""
    rows = []
    for split, words in SPLITS.items():
        result = results.get(split)
        for name, title in (("clean", "clean"), ("pgd", "PGD-40x5"), ("autoattack", "AutoAttack")):
            part = None if result is None else result["clean"] if name == "clean" else attacked(result, name)
            if part is None:
                rows.append([words, title, "", "not run", "not run"])
            else:
                rows.append([words, title, f"{part['n']:,}", rate(part, "accuracy"), f"{part['macro_f1']:.3f}"])
    header = "split | beats as they are, or under | beats | accuracy | macro-F1 |"
    return ruled_table(header, "---|---|---:|---:|---:|", rows)


def classes_table(result: Record) -> str:
    """Show each class's figures."""
    strong, pooled = attacked(result, "pgd"), under_auto_attack(result)
    rows = []
    for row in result["clean"]["per_class"]:
        name = row["class"]
        under = next((each for each in strong["per_class"] if each["class"] == name), None) if strong else None
        rows.append(
            [
                name,
                f"{row['n']:,}",
                NOTHING if row["patients"] is None else str(row["patients"]),
                rate(row, "sensitivity"),
                "not run" if under is None else rate(under, "sensitivity"),
                f"{percent(pooled[name][0])} ({pooled[name][1]:,})" if name in pooled else "not run",
                rate(row, "positive_predictivity"),
                "not run" if under is None else rate(under, "positive_predictivity"),
            ]
        )
    header = (
        "class | beats | patients | sensitivity | under PGD-40x5 | under AutoAttack (beats) | positive predictivity "
        "| under PGD-40x5 |"
    )
    return ruled_table(header, "---|---:|---:|---:|---:|---:|---:|---:|", rows)


def goals_table(results: Record) -> str:
    """Show the goals beside what was measured."""
    rows = []
    for split, words in SPLITS.items():
        for verdict in judge(split, results.get(split)):
            status = verdict.status if verdict.status in ("met", "not run") else f"**{verdict.status}**"
            rows.append([words, _goal(verdict), _measured(verdict), status])
    return ruled_table("split | goal | found | |", "---|---|---|---|", rows)


def _goal(verdict: GoalVerdict) -> str:
    if not verdict.bar:
        return verdict.words
    return f"{verdict.words} ≥ {100 * verdict.bar:g}%" if verdict.share else f"{verdict.words} ≥ {verdict.bar:.2f}"


def _measured(verdict: GoalVerdict) -> str:
    """Write what was measured, with as many digits as tell it from the bar."""
    if verdict.value is None:
        return "not run"
    if not verdict.share:
        return _apart(verdict.value, verdict.bar, 2)
    words = f"{_apart(100 * verdict.value, 100 * verdict.bar, 1)}%"
    ends = interval(verdict.low, verdict.high)
    return f"{words} ({ends})" if ends else words


def _apart(value: float, bar: float, digits: int) -> str:
    """Write a number with enough digits that one below the bar is not rounded onto it."""
    while value < bar and digits < 6 and float(f"{value:.{digits}f}") >= round(bar, 6):
        digits += 1
    return f"{value:.{digits}f}"


def curve_table(results: Record) -> str:
    """Show accuracy over eps."""
    lines = curves(results)
    rows = []
    for eps in sorted({point["eps"] for line in lines.values() for point in line}):
        cells = [f"{eps:g}", f"{eps * HEIGHT:.4f}".rstrip("0").rstrip(".")]
        for split in SPLITS:
            point = next((each for each in lines.get(split, ()) if each["eps"] == eps), None)
            if point is None:
                cells += ["not run", "", ""]
            else:
                cells += [rate(point, "accuracy"), f"{point['macro_f1']:.3f}", f"{point['n']:,}"]
        rows.append(cells)
    heads = " | ".join(f"{words}: accuracy | macro-F1 | beats" for words in SPLITS.values())
    return ruled_table(
        f"eps | of a {HEIGHT} mV beat, mV | {heads} |", "---:|---:|" + "---:|---:|---:|" * len(SPLITS), rows
    )


def settings_table(settings: Sequence[Record]) -> str:
    """Show the settings that were tried on validation data."""
    rows = []
    for number, setting in enumerate(settings, 1):
        marks = {"**chosen**": setting["chosen"], "**judged above**": setting.get("in_use")}
        rows.append(
            [
                str(number),
                f"`{setting['setting']}`",
                percentage(setting["clean_accuracy"]),
                percentage(setting["robust_accuracy"]),
                f"{mean_f1(setting, 'clean'):.3f}",
                f"{mean_f1(setting, 'robust'):.3f}",
                " / ".join(percentage(setting["sensitivity_attacked"].get(name)) for name in CLASSES),
                " ".join(words for words, marked in marks.items() if marked),
            ]
        )
    over = f"mean F1 of {', '.join(TOLD)}" if settings[0].get("clean_f1") else "macro-F1"
    header = (
        f"| setting | clean accuracy | under attack | clean {over} | under attack "
        "| sensitivity under attack, N / S / V / F | |"
    )
    return ruled_table(header, "---:|---|---:|---:|---:|---:|---|---|", rows)


def ec57_table(records: Sequence[Record]) -> str:
    """Show rows of the table in the manner of EC57."""
    rows = []
    for record in records:
        cells = [record["record"], f"{record['beats']:,}"]
        for name in CLASSES:
            figures = record["classes"][name]
            cells.append(f"{figures['beats']:,}")
            cells += [
                _arrow(figures[key], figures[f"{key}_attacked"]) for key in ("sensitivity", "positive_predictivity")
            ]
        rows.append(cells)
    heads = " | ".join(f"{name} | Se | +P" for name in CLASSES)
    return ruled_table(f"record | beats | {heads} |", "---|---:|" + "---:|---:|---:|" * len(CLASSES), rows)


def _arrow(clean: float | None, under: float | None) -> str:
    """Write a share in percent, clean and under attack."""
    return NOTHING if clean is None and under is None else f"{percent(clean)} → {percent(under)}"
