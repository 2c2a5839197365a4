"""How small a change suffices: attacks that look for the nearest wrong answer, with no eps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.attacks.ball import NormName, ball
from salus.report import words
from salus.report.figures.distances import DistanceCurve, distance_curves
from salus.report.run_folder import Record, Run
from salus.report.tables import Glossary, Table, TableCell, head, heads, text
from salus.threats import WhiteBox


def smallest(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """Draw how many inputs stay right against the size of the change; None without such attacks."""
    panels: list[dict[str, Any]] = []
    rows = []
    for guard in run.guards:
        cells = [c for c in run.attacked if c["guard"] == guard and c.get("finds") == "nearest"]
        for norm in dict.fromkeys(cell["norm"] for cell in cells):
            curves = [_curve(run, cell) for cell in cells if cell["norm"] == norm]
            lines = [line for line in curves if line is not None]
            if lines:
                figure = distance_curves(lines, norm=norm, key=f"smallest{len(panels)}")
                panels.append({"title": f"{words.guard(guard)}, {words.norm(norm)}", "figure": figure})
        rows += [_row(guard, cell, _curve(run, cell)) for cell in cells]
    if not rows:
        return None
    columns = ["guard", "attack", "threat_model", "attack_success_rate", "quartile", "distance_median", "most"]
    table = Table("The smallest changes found", heads(columns), tuple(rows), glossary.notes(columns))
    return {"panels": panels, "table": table}


def _curve(run: Run, cell: Record) -> DistanceCurve | None:
    """Measure how far each input that was right had to be moved; None when nothing was stored."""
    arrays, samples = run.arrays(cell), run.samples
    clean = run.clean(cell["guard"])
    before = run.arrays(clean).get("label") if clean is not None else None
    if before is None or not ({"x", "y"} <= samples.keys() and {"x_adv", "reached"} <= arrays.keys()):
        return None
    if len(before) != len(samples["y"]):
        return None
    good = before == samples["y"]
    pairs = zip(arrays.pieces("x_adv"), samples.pieces("x"), strict=True)
    distances = np.concatenate([_distance(x_adv, x, cell["norm"]) for x_adv, x in pairs])
    distances = distances[good & arrays["reached"].astype(bool)]
    name = words.attack(cell["attack"]) + ("" if cell["threat_model"] == WhiteBox.name else f", {cell['threat_model']}")
    return DistanceCurve(name, np.sort(distances), int(good.sum()), len(good))


def _distance(x_adv: NDArray[Any], x: NDArray[Any], norm: NormName) -> NDArray[np.float64]:
    # Bounds are no matter: nothing is moved.
    region = ball(norm, torch.from_numpy(x.astype(np.float64)), math.inf, (0.0, 1.0))
    lengths: NDArray[np.float64] = region.distance(torch.from_numpy(x_adv.astype(np.float64))).numpy()
    return lengths


def _row(guard: str, cell: Record, curve: DistanceCurve | None) -> tuple[TableCell, ...]:
    shares = [TableCell("–")] * 3
    if curve is not None and len(curve.distances):
        shares = [TableCell(f"{value:.4g}") for value in np.quantile(curve.distances, [0.25, 0.5, 0.9])]
    success = TableCell(words.percent(cell["attack_success_rate"]))
    return (
        head(words.guard(guard)),
        text(words.attack(cell["attack"]), words.option_text(words.options(cell))),
        text(cell["threat_model"], words.norm(cell["norm"])),
        success,
        *shares,
    )
