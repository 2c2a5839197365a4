"""Audits every defence on heartbeats and on skin lesions, and attacks the purifiers that kept most once more."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salus.audit import Plan, run_audit
from salus.engines import Engine
from salus.report import write_report
from salus_studies.defences.attempts import SAMPLES, STEPS, attack_again, purifiers
from salus_studies.frame.folder import Folder
from salus_studies.frame.markdown import Record
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded

if TYPE_CHECKING:
    from salus_studies.defences.study import DefencesOptions

#: The plans of the audits, in the repository.
_PLANS = "src/salus_studies/defences"

#: On so many test samples AUC and false alarms are measured.
_WIDER = {"mitdb": 600, "ham10000": 400}

_META = ("created", "command", "seed", "device", "threads", "samples", "split", "versions")
_RATES = ("clean_accuracy", "robust_accuracy", "rejected_clean", "rejected_adversarial", "rejected_noise")
_CELL = (
    *("guard", "attack", "attack_options", "eps", "norm", "threat_model", "cost", "error", "variants", "alone"),
    *(f"{name}{end}" for name in _RATES for end in ("", "_low", "_high")),
    "detection_auc",
)


def run(options: DefencesOptions, folder: Folder) -> Results:
    """Do the audits and the attempts, each in a folder of its own, and keep what the page shows."""
    steps = folder.claim({}, {"data": list(options.data)})
    audits: list[Record] = []
    attempts: list[Record] = []
    for data in options.data:
        plan = Path(__file__).with_name(f"{data}.yaml")
        place = {} if options.data_dir is None else {"data_dir": options.data_dir}
        audits += audit_twice(plan, folder.path / data, _WIDER[data], place, folder.engine)
        rows = attack_again(steps, data, list(purifiers(folder.path / data)))
        attempts.append({"data": data, "command": folder.command, "samples": SAMPLES, "steps": STEPS, "rows": rows})
    return Results({"audits": rounded(audits), "attempts": attempts})


def audit_twice(
    plan: Path, out: Path, wider: int, place: Mapping[str, Any], engine: Engine | None = None
) -> Iterator[Record]:
    """Run an audit by every attacker, and on more samples by the one who does not know the defence.

    Args:
        plan: the YAML file.
        out: folder of the first; the second gets a folder beside it.
        wider: samples of the second.
        place: where data lie, as a plan takes it.
        engine: where cells are computed; None for this process.
    """
    yield _audit(plan, out, place, engine)
    beside = out.with_name(f"{out.name}-wide")
    if not beside.exists():  # what the first trained serves the second too
        copy = out.with_name(f"{out.name}-copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(out, copy)
        copy.rename(beside)
    yield _audit(plan, beside, {**place, "samples": wider, "threat_model": ("oblivious",)}, engine)


def _audit(plan: Path, out: Path, changes: Mapping[str, Any], engine: Engine | None) -> Record:
    words = {key: value[0] if isinstance(value, tuple) else value for key, value in changes.items()}
    flags = [word for key, value in words.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = shlex.join(["salus", "audit", f"{_PLANS}/{plan.name}", *flags, "--out", str(out)])
    outcome = run_audit(Plan.read(plan, dict(changes)), out, command=command, engine=engine)
    write_report(out)
    return slim({"meta": outcome.meta, "cells": outcome.cells})


def slim(results: Record) -> Record:
    """Keep of an audit what the page shows."""
    meta = results["meta"]
    return {
        **{name: meta[name] for name in _META},
        "data": meta["data"]["name"],
        "model": meta["model"]["name"],
        "guards": list(meta["guards"]),
        "cells": [{name: cell[name] for name in _CELL if cell.get(name) is not None} for cell in results["cells"]],
    }
