"""Audits every defence on heartbeats and on skin lesions, and attacks the purifiers that kept most once more."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from salus.attacks import PGD
from salus.audit import Plan, run_audit
from salus.guard import Guard
from salus.purifiers import DefenseGANPurifier, MultiMagNetReformer
from salus.report import write_report
from salus.threats import adaptive
from salus_studies.frame.folder import Folder
from salus_studies.frame.markdown import Record
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded
from salus_studies.frame.steps import Steps

if TYPE_CHECKING:
    from salus_studies.defences.study import DefencesOptions

#: The plans of the audits, in the repository.
_PLANS = "src/salus_studies/defences"

#: On so many test samples AUC and false alarms are measured.
_WIDER = {"mitdb": 600, "ham10000": 400}

#: Sizes of change in L-infinity at which purifiers are attacked once more, with so many steps, on so many samples.
_SIZES = {"mitdb": (0.01, 0.02, 0.03)}
_STEPS, _SAMPLES = 50, 40

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
        audits += audit_twice(plan, folder.path / data, _WIDER[data], place)
        if data in _SIZES:
            rows = [row for guard in purifiers(folder.path / data) for row in attack_again(steps, data, guard)]
            facts = {"data": data, "command": folder.command, "samples": _SAMPLES, "steps": _STEPS}
            attempts.append({**facts, "rows": rows})
    return Results({"audits": rounded(audits), "attempts": attempts})


def audit_twice(plan: Path, out: Path, wider: int, place: Mapping[str, Any]) -> Iterator[Record]:
    """Run an audit by every attacker, and on more samples by the one who does not know the defence.

    Args:
        plan: the YAML file.
        out: folder of the first; the second gets a folder beside it.
        wider: samples of the second.
        place: where data lie, as a plan takes it.
    """
    yield _audit(plan, out, place)
    beside = out.with_name(f"{out.name}-wide")
    if not beside.exists():  # what the first trained serves the second too
        copy = out.with_name(f"{out.name}-copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(out, copy)
        copy.rename(beside)
    yield _audit(plan, beside, {**place, "samples": wider, "threat_model": ("oblivious",)})


def _audit(plan: Path, out: Path, changes: Mapping[str, Any]) -> Record:
    words = {key: value[0] if isinstance(value, tuple) else value for key, value in changes.items()}
    flags = [word for key, value in words.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = shlex.join(["salus", "audit", f"{_PLANS}/{plan.name}", *flags, "--out", str(out)])
    outcome = run_audit(Plan.read(plan, dict(changes)), out, command=command)
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


def purifiers(audit: Path) -> Iterator[Path]:
    """List the guards of an audit that are a purifier alone, which draws at random or descends."""
    for place in sorted((audit / "guards").iterdir()):
        guard = Guard.load(place)
        if not guard.detectors and isinstance(guard.purifier, (DefenseGANPurifier, MultiMagNetReformer)):
            yield place


def attack_again(steps: Steps, data: str, place: Path) -> Iterator[Record]:
    """Attack a guard with more strength, at the audit's size of change and beyond.

    What counts is how likely a sample is to be answered rightly before and after, over the guard's draws.

    Args:
        steps: where it is kept.
        data: what the audit was on.
        place: of the guard, in the folder of its audit.
    """
    samples = load_file(place.parents[1] / "samples.safetensors")
    x, y = samples["x"][:_SAMPLES], samples["y"][:_SAMPLES]
    for eps in _SIZES[data]:

        def work(eps: float = eps) -> dict[str, Any]:
            guard = Guard.load(place)
            clean = float(guard.chances(x).gather(1, y[:, None]).mean())
            attack = adaptive(PGD(eps=eps, steps=_STEPS), guard, x, y)
            return {"guard": guard.name, "eps": eps, "clean": clean, "left": float(1 - attack.chances.mean())}

        step = steps.do(f"{data}-{place.name}-{eps:g}", "attempt", [data, place.name, eps, _STEPS, _SAMPLES], work)
        yield {name: step[name] for name in ("guard", "eps", "clean", "left")}
