"""What attacks do to each class: per-class figures and confusion matrices, clean and attacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salus.report import words
from salus.report.run_folder import Record, Run
from salus.report.tables import COLUMNS, Glossary, Table, TableCell, head, heads, rate

_FIGURES = ("sensitivity", "specificity", "positive_predictivity")


def classes(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List per-class figures for each guard; None when no cell has them."""
    tables = []
    for guard in run.guards:
        clean, attacked = run.clean(guard), run.strongest(guard)
        if clean is not None and clean.get("per_class"):
            tables.append(_table(run, guard, clean, attacked, glossary))
            tables += _labels(run, guard, clean, attacked, glossary)
    return {"tables": tables} if tables else None


def _table(run: Run, guard: str, clean: Record, attacked: Record | None, glossary: Glossary) -> Table:
    rows = clean["per_class"]
    under = {row["class"]: row for row in (attacked or {}).get("per_class") or []}
    grouped = any(row.get("patients") is not None for row in rows)
    rejected = any(row.get("rejected") for row in [*rows, *under.values()])
    columns = [
        "class",
        "n",
        *(["groups"] if grouped else []),
        *(["rejected"] if rejected else []),
        *_FIGURES,
    ]
    titles = ["Class", "Samples", *([glossary.head("groups")] if grouped else [])]
    for name in [*(["rejected"] if rejected else []), *_FIGURES]:
        titles += [f"{COLUMNS[name][0]}, clean", "attacked"] if under else [COLUMNS[name][0]]
    lines = []
    for row in rows:
        share = row.get("largest_patient_share")
        mostly = share is not None and share > 0.5
        line = [head(row["class"]), TableCell(words.number(row["n"]))]
        if grouped:
            small = f"one has {words.percent(share)}" if mostly else ""
            line.append(TableCell(words.number(row.get("patients")), small, mark=f"one {run.group}" if mostly else ""))
        attacked_row = under.get(row["class"])
        if rejected:
            line.append(TableCell(words.number(row.get("rejected"))))
            line += [TableCell(words.number((attacked_row or {}).get("rejected")))] if under else []
        for name in _FIGURES:
            line.append(rate(row, name))
            line += [rate(attacked_row, name)] if under else []
        lines.append(tuple(line))
    strongest = f"; attacked: {words.title(attacked, run.kind)}" if attacked is not None and under else ""
    return Table(f"{words.guard(guard)}{strongest}", tuple(titles), tuple(lines), glossary.notes(columns), wide=True)


def _labels(run: Run, guard: str, clean: Record, attacked: Record | None, glossary: Glossary) -> list[Table]:
    """List what happens to each of several labels, the easiest to flip first; nothing where a class is one label."""
    rows = (attacked or clean).get("per_label")
    if not rows:
        return []
    columns = ["label", "carriers", "sensitivity_clean"]
    columns += ["sensitivity_attacked", "flipped"] if attacked else []
    lines = [
        (head(row["label"]), TableCell(words.number(row["n"])), *(rate(row, name) for name in columns[2:]))
        for row in sorted(rows, key=lambda row: -(row.get("flipped") or 0))
    ]
    strongest = "" if attacked is None else f"; attacked: {words.title(attacked, run.kind)}"
    title = f"Each label by itself, {words.guard(guard)}{strongest}"
    return [Table(title, heads(columns), tuple(lines), glossary.notes(columns), wide=True)]


def confusions(run: Run) -> dict[str, Any] | None:
    """Lay out confusion matrices for each guard, clean and under the strongest attack."""
    tables = []
    for guard in run.guards:
        for cell in (run.clean(guard), run.strongest(guard)):
            if cell is not None and cell.get("confusion"):
                title = f"{words.guard(guard)}, {words.title(cell, run.kind)}"
                tables.append(matrix(title, cell["confusion"], run.classes, rejects=guard != "none"))
    return {"tables": tables} if tables else None


def matrix(title: str, confusion: Mapping[str, Any], classes: Sequence[str], *, rejects: bool) -> Table:
    """Lay out one confusion matrix; the rejected have a column where ``rejects`` says so, or where there are any."""
    rejected = confusion["rejected"]
    rejects = rejects or any(rejected)
    rows = []
    for true, counts in enumerate(confusion["matrix"]):
        total = sum(counts) + rejected[true]
        counts = [*counts, rejected[true]] if rejects else counts
        cells = tuple(
            TableCell(
                words.number(count),
                words.percent(count / total) if total else "",
                "number right" if answer == true else "number",
                shade=count / total if total else 0.0,
            )
            for answer, count in enumerate(counts)
        )
        rows.append((head(classes[true]), *cells))
    style = "confusion large" if len(classes) > 5 else "confusion"
    titles = ("true ↓ answer\N{NO-BREAK SPACE}→", *classes, *(("rejected",) if rejects else ()))
    return Table(title, titles, tuple(rows), style=style)
