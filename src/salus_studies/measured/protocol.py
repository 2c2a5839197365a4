"""Audits a network of heartbeats, bare and behind I-defender, by beats and by patients."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from salus.audit import Plan, run_audit
from salus.report import write_report
from salus_studies.frame.folder import Folder
from salus_studies.frame.markdown import Record
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded

if TYPE_CHECKING:
    from salus_studies.measured.study import MeasuredOptions

_ATTACKS = ("fgsm:eps=0.01", "pgd:eps=0.01,steps=40")
_META = ("command", "split", "samples", "seed", "device", "threads", "versions", "verdict", "warnings")
_RATES = ("clean_accuracy", "robust_accuracy", "attack_success_rate", "rejected_clean", "rejected_adversarial")
_CELL = (
    *("guard", "attack", "attack_options", "eps", "threat_model", "detection_auc"),
    *(f"{name}{end}" for name in _RATES for end in ("", "_low", "_high")),
)


def run(options: MeasuredOptions, folder: Folder) -> Results:
    """Do both audits, each in a folder of its own, and keep what the page shows."""
    folder.claim({"seed": options.seed}, {})
    return Results(rounded({"audits": [_audit(split, options, folder) for split in ("beats", "patients")]}))


def _audit(split: str, options: MeasuredOptions, folder: Folder) -> Record:
    out = folder.path / f"ecg-{split}"
    fields: dict[str, Any] = {"data": "mitdb", "split": split, "model": "ecg-cnn", "attack": _ATTACKS}
    fields |= {"defence": ("i-defender",), "samples": 2000, "seed": options.seed, **options.place}
    words = [word for name, value in fields.items() for each in _several(value) for word in _option(name, each)]
    command = shlex.join(["salus", "audit", *words, "--out", str(out)])
    outcome = run_audit(Plan.of(fields), out, command=command, engine=folder.engine)
    write_report(out)
    return slim({"meta": outcome.meta, "cells": outcome.cells})


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _option(name: str, value: Any) -> tuple[str, str]:
    return f"--{name.replace('_', '-')}", str(value)


def slim(results: Record) -> dict[str, Any]:
    """Keep of an audit what the page shows."""
    meta = results["meta"]
    whole = {name: meta["model"][name] for name in ("clean_accuracy", "clean_accuracy_low", "clean_accuracy_high")}
    return {
        **{name: meta[name] for name in _META},
        "data": meta["data"]["name"],
        "whole_test": whole,
        "cells": [{name: cell[name] for name in _CELL if cell.get(name) is not None} for cell in results["cells"]],
    }
