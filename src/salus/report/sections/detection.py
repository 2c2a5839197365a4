"""How well a guard's detectors tell attacked inputs from clean ones, beside random noise of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.report import words
from salus.report.figures.roc import roc_curve
from salus.report.run_folder import Record, Run
from salus.report.tables import (
    Glossary,
    Table,
    TableCell,
    area,
    columns_with_values,
    head,
    heads,
    passing_area,
    rate,
    text,
)
from salus.threats.winners import who_wins, winners

_MOST_CURVES = 8
_BLANK = (TableCell(""), TableCell(""))


def detection(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """Draw ROC curves and list rates of rejection; None without detectors."""
    rows = [c for c in run.attacked if c["guard"] != "none" and c.get("rejected_adversarial") is not None]
    if not rows:
        return None
    curves = []
    for guard in run.guards[1:] if run.guards[0] == "none" else run.guards:
        for line in run.lines(guard):
            cells = [cell for cell in line.cells if _has_curve(cell)]
            if cells:
                curves.append(min(cells, key=lambda c: (not c["roc"].get("fooled"), c.get("robust_accuracy") or 0.0)))
    panels = [
        {
            "title": f"{words.guard(cell['guard'])}: {words.title(cell, run.kind)}",
            "figure": roc_curve(cell, key=f"roc{place}", kind=run.kind),
        }
        for place, cell in enumerate(curves[:_MOST_CURVES])
    ]
    return {
        "panels": panels,
        "more": len(curves) - len(panels),
        "passing": any(passing_area(cell).mark for cell in rows),
        "table": _table(run, rows, glossary),
        "variants": _variants(run, rows, glossary),
        "alone": _alone(run, rows, glossary),
    }


def _has_curve(cell: Mapping[str, Any]) -> bool:
    curves = cell.get("roc") or {}
    return bool(curves.get("all") or curves.get("fooled"))


def _table(run: Run, rows: list[Record], glossary: Glossary) -> Table:
    columns = [
        "guard",
        "attack",
        "threat_model",
        "eps",
        "rejected_clean",
        "rejected_adversarial",
        "rejected_noise",
        "successes",
        "detection_auc",
        *columns_with_values(rows, ["detection_auc_driven"]),
        "detection_auc_all",
    ]
    lines = tuple(
        (
            head(words.guard(cell["guard"])),
            text(words.attack(cell["attack"]), words.option_text(words.options(cell))),
            text(cell["threat_model"] or "–"),
            TableCell(words.epsilon(cell["eps"], run.kind), words.norm(cell["norm"])),
            rate(cell, "rejected_clean"),
            rate(cell, "rejected_adversarial"),
            rate(cell, "rejected_noise"),
            TableCell(words.number(cell.get("successes"))),
            passing_area(cell),
            *(area(cell, name) for name in columns[9:]),
        )
        for cell in rows
    )
    return Table("Detection", heads(columns), lines, glossary.notes(columns), wide=True)


def _variants(run: Run, rows: list[Record], glossary: Glossary) -> Table | None:
    lines = []
    for cell in rows:
        shares = cell.get("variants") or {}
        if shares and not cell.get("alone"):
            summary = ", ".join(f"{name} {words.percent(share)}" for name, share in shares.items())
            lines.append((head(words.guard(cell["guard"])), text(words.title(cell, run.kind)), text(summary)))
    if not lines:
        return None
    columns = ["guard", "attack", "adaptive"]
    return Table(
        "Which variant came first, each run on what those before it had left",
        heads(columns),
        tuple(lines),
        glossary.notes(columns),
    )


def _alone(run: Run, rows: list[Record], glossary: Glossary) -> Table | None:
    """List what each variant of the adaptive attack wins alone, and who wins most; None where none was run so."""
    lines = []
    for cell in rows:
        alone = cell.get("alone") or {}
        if not alone:
            continue
        best, title = winners(alone), words.title(cell, run.kind)
        for name, figures in alone.items():
            lines.append(
                (
                    head(words.guard(cell["guard"])),
                    text(title),
                    text(name, "wins most alone" if name in best else ""),
                    rate(figures, "attack_success_rate"),
                    TableCell(words.number(figures["passes"])),
                )
            )
        lines.append((head(words.guard(cell["guard"])), text(title), text(f"In all: {who_wins(alone)}."), *_BLANK))
    if not lines:
        return None
    columns = ["guard", "attack", "variant", "won alone", "passes alone"]
    return Table("What each variant wins alone", heads(columns), tuple(lines), glossary.notes(columns))
