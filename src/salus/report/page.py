"""The page of an audit: one file that opens anywhere, drawn from the run's folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from salus.atomic import write_text
from salus.errors import BundleError
from salus.report.run_folder import Run
from salus.report.sections.about import about
from salus.report.sections.accuracy import accuracy
from salus.report.sections.cells import cells, failures
from salus.report.sections.classes import classes, confusions
from salus.report.sections.controls import controls
from salus.report.sections.detection import detection
from salus.report.sections.examples import examples
from salus.report.sections.harm import harm
from salus.report.sections.health import health
from salus.report.sections.reach import reach
from salus.report.sections.recap import recap
from salus.report.sections.smallest import smallest
from salus.report.sections.watched import watched
from salus.report.tables import Glossary
from salus.report.template import stylesheet, template
from salus.threats import FIXED, THREAT_MODELS, threat_named


def write_report(run: Path) -> Path:
    """Draw ``report.html`` into an audit's folder; the same results give the same bytes.

    Args:
        run: the folder (``--out``) of an audit, with ``results.json``.

    Returns:
        Where the page is.

    Raises:
        BundleError: the results are missing or damaged.
        StoreError: the page cannot be written.
    """
    folder = Path(run)
    results = Run(folder)
    try:
        page = template("report.html.j2").render(**_content(results))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BundleError(
            f"{folder / 'results.json'} is no complete audit ({type(error).__name__}: {error}); run the audit again."
        ) from error
    path = folder / "report.html"
    write_text(path, page)
    return path


def _content(run: Run) -> dict[str, Any]:
    """Everything that the template shows; the glossary fills in the order of the page."""
    glossary = Glossary(run.group)
    verdict = [str(sentence) for sentence in run.meta.get("verdict") or []]
    return {
        "css": stylesheet(),
        "title": f"Salus audit of {run.meta['data'].get('name', 'data')}",
        "headline": verdict[0] if verdict else "This audit has no verdict.",
        "verdict": verdict[1:],
        "warnings": _warnings(run),
        "about": about(run, glossary),
        "accuracy": accuracy(run, glossary),
        "recap": recap(run),
        "smallest": smallest(run, glossary),
        "cells": cells(run, glossary),
        "classes": classes(run, glossary),
        "confusions": confusions(run),
        "health": health(run, glossary),
        "harm": harm(run, glossary),
        "detection": detection(run, glossary),
        "watched": watched(run, glossary),
        "controls": controls(run, glossary),
        "examples": examples(run),
        "reach": reach(run, glossary),
        "threats": _threats(run),
        "codes": list(run.meta.get("codes") or []),
        "group": run.group,
        "guarded": any(name != "none" for name in run.guards),
    }


def _warnings(run: Run) -> list[str]:
    """Give the audit's warnings, each once, and what the stored cells themselves call for."""
    warnings = [str(sentence) for sentence in run.meta.get("warnings") or []]
    for guard in run.guards:
        rows = [cell for cell in run.attacked if cell["guard"] == guard and guard != "none"]
        said = any(guard in sentence and "upper bound" in sentence for sentence in warnings)
        if rows and not said and not any(threat_named(cell["threat_model"]).knows_guard for cell in rows):
            warnings.append(f"Guard {guard!r} was not attacked by anyone who knows it: its figures are an upper bound.")
    count = len(failures(run))
    if count:
        warnings.append(
            f"{count} of {len(run.cells)} cells failed and are left out; the reasons stand below the table of cells."
        )
    return list(dict.fromkeys(warnings))


def _threats(run: Run) -> list[tuple[str, str]]:
    used = {cell["threat_model"] for cell in run.cells}
    return [(name, threat.summary) for name, threat in {**THREAT_MODELS, **FIXED}.items() if name in used]
