"""Inputs before and after the strongest attack, with the answers to both."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.figures.overlays import overlay
from salus.report.run_folder import ArrayFile, Record, Run

_MOST = 4


def examples(run: Run) -> dict[str, Any] | None:
    """Draw a few attacked samples of each guard's strongest attack; None when none was stored."""
    panels: list[dict[str, Any]] = []
    for guard in run.guards:
        cell = run.strongest(guard)
        if cell is None or not cell.get("examples"):
            continue
        arrays = run.arrays(cell)
        if "x_adv" not in arrays or "x" not in run.samples:
            continue
        clean = run.clean(guard)
        before = run.arrays(clean).get("label") if clean is not None else None
        for place in cell["examples"][:_MOST]:
            panels.append(_panel(run, guard, cell, arrays, before, int(place), f"example{len(panels)}"))
    if not panels:
        return None
    marks = run.meta["data"].get("marks") or {}
    return {"panels": panels, "kind": run.kind, "unmarked": run.kind == "table" and not any(marks.values())}


def _panel(run: Run, guard: str, cell: Record, arrays: ArrayFile, before: Any, place: int, key: str) -> dict[str, Any]:
    true = run.classes[int(run.samples["y"][place])]
    answers = [("true class", true)]
    if before is not None:
        answers.append(("clean", _answer(run, int(before[place]))))
    answers.append(("attacked", _answer(run, int(arrays["label"][place]))))
    summary = ", ".join(f"{name} {answer}" for name, answer in answers)
    low, high = run.meta["data"].get("bounds") or (0.0, 1.0)
    return {
        "title": f"{words.guard(guard)}: {words.title(cell, run.kind)}",
        "answers": answers,
        "sample": int(run.samples["indices"][place]) if "indices" in run.samples else place,
        "figure": overlay(
            run.samples.rows("x", slice(place, place + 1))[0],
            arrays.rows("x_adv", slice(place, place + 1))[0],
            bounds=(float(low), float(high)),
            features=run.meta.get("feature_names") or (),
            key=key,
            alt=f"One sample before and after {words.title(cell, run.kind)}: {summary}.",
        ),
    }


def _answer(run: Run, label: int) -> str:
    return "rejected" if label < 0 else run.classes[label]
