"""What each attack does from stage to stage, and what each guard wins back: the recap curves of the skin-lesion thesis.

Nédellec and Mouret (2021), Figures 5.1 and 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from salus.report import words
from salus.report.figures.recap import recap_curves
from salus.report.run_folder import Record, Run
from salus.threats import ThreatModel
from salus.threats.models import Adaptive, DecisionOnly, Oblivious, Transfer, WhiteBox

#: Threat models of the bare classifier, and of a guard that the attacker does not know.
_BARE, _UNAWARE, _KNOWING = (WhiteBox, Transfer, DecisionOnly), (Oblivious, Transfer), (Adaptive,)

#: Reads a figure of a cell.
Figure = Callable[[Record], "float | None"]


def recap(run: Run) -> dict[str, Any] | None:
    """Draw two panels for each attack; None without a guard that was attacked."""
    guards = [name for name in run.guards if name != "none"]
    panels: list[dict[str, Any]] = []
    for title, cells in _strongest(run).items():
        bare = _of(cells, "none", _BARE)
        unaware = [_of(cells, guard, _UNAWARE) for guard in guards]
        knowing = [_of(cells, guard, _KNOWING) for guard in guards]
        if bare is None or not any(unaware + knowing):
            continue
        stages = ["clean", "attacked", *guards]
        row = [run.clean("none"), bare, *unaware]
        for name, figures in _panels(row).items():
            first = next(iter(figures.values()))
            figure = recap_curves(
                stages,
                {
                    word: [None if cell is None else figure_of(cell) for cell in row]
                    for word, figure_of in figures.items()
                },
                [None, None, *(None if cell is None else first(cell) for cell in knowing)],
                key=f"recap{len(panels)}",
                alt=f"{title}, {name}, from stage to stage",
            )
            panels.append({"title": f"{title}: {name}", "figure": figure})
    return {"panels": panels} if panels else None


def _strongest(run: Run) -> dict[str, list[Record]]:
    """Take every attack at the largest eps that the bare classifier met, by its title."""
    kinds: dict[tuple[str, str, str], list[Record]] = {}
    for cell in run.attacked:
        if cell.get("robust_accuracy") is not None:
            kind = (cell["attack"], words.option_text(words.options(cell)), cell["norm"] or "")
            kinds.setdefault(kind, []).append(cell)
    attacks: dict[str, list[Record]] = {}
    for (_, options, _), cells in kinds.items():
        radii = [cell["eps"] for cell in cells if cell["guard"] == "none" and cell["eps"] is not None]
        strongest = [cell for cell in cells if cell["eps"] == max(radii, default=None)]
        if strongest:
            title = words.title({**strongest[0], "threat_model": ""}, run.kind)
            attacks[f"{title}, {options}" if title in attacks else title] = strongest
    return attacks


def _of(cells: Sequence[Record], guard: str, threats: Sequence[type[ThreatModel]]) -> Record | None:
    rows = [cell for cell in cells if cell["guard"] == guard]
    return next((cell for threat in threats for cell in rows if cell["threat_model"] == threat.name), None)


def _panels(row: Sequence[Record | None]) -> dict[str, Mapping[str, Figure]]:
    """Choose the figures: of all classes, and of disease where some class means it."""
    panels: dict[str, Mapping[str, Figure]] = {
        "all classes": {
            "Accuracy": _accuracy,
            "Mean sensitivity": lambda cell: _mean(cell, "sensitivity"),
            "Mean specificity": lambda cell: _mean(cell, "specificity"),
        }
    }
    if any(cell and cell.get("health") for cell in row):
        panels["ill or healthy"] = {
            "Sensitivity": lambda cell: _health(cell, "sensitivity"),
            "Accuracy": lambda cell: _health(cell, "accuracy"),
            "NPV": lambda cell: _health(cell, "npv"),
        }
    return panels


def _accuracy(cell: Record) -> float | None:
    value: float | None = cell["clean_accuracy" if cell["attack"] is None else "robust_accuracy"]
    return value


def _mean(cell: Record, figure: str) -> float | None:
    values = [row[figure] for row in cell.get("per_class") or () if row.get(figure) is not None]
    return fmean(values) if values else None


def _health(cell: Record, figure: str) -> float | None:
    value: float | None = ((cell.get("health") or {}).get("left_out") or {}).get(figure)
    return value
