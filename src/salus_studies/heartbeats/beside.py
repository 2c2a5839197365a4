"""What docs/ecg.md sets beside the network between patients: rival ways of hardening, and a void result repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salus.metrics.wording import percent
from salus_studies.frame.markdown import Record, ruled_table
from salus_studies.heartbeats.goals import f1
from salus_studies.heartbeats.measured import CLASSES


def rivals(result: Record | None) -> Iterator[str]:
    """Show every rival, or that it was not run."""
    yield "## Rivals\n"
    rows = {} if result is None else {row["name"]: row for row in result.get("rivals") or []}
    if not rows:
        yield "not run\n"
        return
    from salus_studies.heartbeats.rivals import DRAWS, RIVALS

    first = next(iter(rows.values()))
    yield (
        "Other ways of hardening the same network on the same people, single runs of one seed, each setting fixed "
        f"before DS2 was opened for it. Accuracy and macro-F1 of all {first['clean']['n']:,} test beats as they are, "
        f"and of {first['attacked']['n']:,} drawn as they come: as they are → under PGD-40x5 at eps {first['eps']:g}, "
        "on the network itself. Few of those drawn are S and F, so that the second macro-F1 differs from the first by "
        f"chance. Randomized smoothing draws {DRAWS['attacked']} noisy copies anew at each step of the attack, "
        f"{DRAWS['answered']} others for the answer.\n"
    )
    cells = [_rival_cells(rival.words, rows.get(name)) for name, rival in RIVALS.items()]
    header = "| weights | accuracy, % | macro-F1 | drawn: accuracy, % | macro-F1 | " + " | ".join(CLASSES) + " |"
    yield ruled_table(header, "---|---:|---:|---:|---:|---:|" + "---:|" * len(CLASSES), cells)


def _rival_cells(words: str, row: Record | None) -> list[str]:
    if row is None:
        return [words, "not run", *[""] * (4 + len(CLASSES))]
    clean, drawn, attacked = row["clean"], row["drawn"], row["attacked"]
    return [
        words,
        f"{row['parameters']:,}",
        percent(clean["accuracy"]),
        f"{clean['macro_f1']:.3f}",
        f"{percent(drawn['accuracy'])} → {percent(attacked['accuracy'])}",
        f"{drawn['macro_f1']:.3f} → {attacked['macro_f1']:.3f}",
        *(f"{drawn['f1'][each]:.2f} → {attacked['f1'][each]:.2f}" for each in CLASSES),
    ]


def sequences(rows: Sequence[Record]) -> Iterator[str]:
    """Show what the order of test beats does to a network that reads them in sequences."""
    yield "### The void one, repeated\n"
    if not rows:
        yield "not run\n"
        return
    from salus_studies.heartbeats.sequences import LENGTH, ORDERS

    yield (
        "The network of Mousavi and Afghah on DS1 and DS2 as published (N, S and V, one patient on both sides), after "
        f"their description and what they released: beats from T peak to T peak, {LENGTH} to a sequence, an LSTM that "
        "reads them and one that answers. Their loader cuts the sequences from beats that are **sorted by class**, in "
        "the test too. Here the same network, the last of its training, answers the same beats in other orders as "
        "well, and one is trained **in order of time** (without SMOTE, whose beats have no time). Shortened: "
        f"{rows[0]['epochs']} passes over the data for their 500. Se / +P in percent.\n"
    )
    cells = []
    for row in rows:
        for order, counts in row["tested"].items():
            figures = {each["class"]: each for each in counts["per_class"]}
            cells.append(
                [
                    ORDERS[row["trained"]],
                    ORDERS[order],
                    percent(counts["alike"]),
                    f"{percent(counts['accuracy'])} ({percent(counts['commonest'])})",
                    f"{counts['macro_f1']:.3f}",
                    *(
                        f"{percent(each['sensitivity'])} / {percent(each['positive_predictivity'])}"
                        for each in figures.values()
                    ),
                ]
            )
    names = [each["class"] for each in rows[0]["tested"]["sorted"]["per_class"]]
    header = "trained | tested | sequences of one class, % | accuracy, % (always N) | macro-F1 of three | "
    yield ruled_table(header + " | ".join(names) + " |", "---|---|---:|---:|---:|" + "---:|" * len(names), cells)
    by = {(row["trained"], order): counts for row in rows for order, counts in row["tested"].items()}
    if ("sorted", "sorted") in by and ("sorted", "time") in by:
        before, after = by["sorted", "sorted"], by["sorted", "time"]
        ends = [{each["class"]: f1(each) for each in part["per_class"]} for part in (before, after)]
        classes = ", ".join(f"{name} {ends[0][name]:.2f} and {ends[1][name]:.2f}" for name in ("S", "V"))
        yield (
            f"The same network on the same beats: macro-F1 {before['macro_f1']:.2f} where the loader sorts, "
            f"{after['macro_f1']:.2f} in order of time; F1 of {classes}.\n"
        )
