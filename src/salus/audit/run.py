"""Running a plan: each cell once, stored as it finishes, so that a killed audit goes on where it was."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import salus
from salus.atomic import tensor_rows, write_json, write_text
from salus.attacks import PGD, Attack
from salus.attacks.poisoning import POISONS, Trigger
from salus.attacks.universal import UAP
from salus.audit import setup as build
from salus.audit.cell import Cell
from salus.audit.cleaning import check_cleaning, cleaned
from salus.audit.harm import count_harm, parse_harm
from salus.audit.plan import Plan
from salus.audit.summary import verdict, warnings
from salus.batches import rows_held
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.errors import OptionError, StoreError, nearest
from salus.guard import Guard, Verdict
from salus.metrics import proportion
from salus.progress import console, progress
from salus.storage import Store, digest, find_device, versions
from salus.threats import refusal

#: The check for masked gradients: with half the range of values to play with, no classifier stands.
HUGE_EPS = 0.5
_HUGE_SAMPLES = 200

#: Training samples that a universal perturbation is fitted to.
_UNIVERSAL_SAMPLES = 2000


@dataclass(frozen=True)
class Outcome:
    """What an audit came to.

    Attributes:
        meta: what was audited, how, the verdict and the warnings.
        cells: the records of all cells of the plan.
        computed: how many of them this run computed; the others were stored.
        failed: how many failed.
    """

    meta: dict[str, Any]
    cells: list[dict[str, Any]]
    computed: int
    failed: int


def run_audit(plan: Plan, out: Path | str, *, command: str = "") -> Outcome:
    """Run every cell of the plan that the folder does not hold yet, and write the results.

    Args:
        plan: what to do.
        out: the audit's folder, new, empty, or of the same audit.
        command: how to repeat it, for the report.

    Raises:
        SalusError: the plan, the data, the model or the folder cannot be used.
    """
    started = time.perf_counter()
    store = Store(Path(out))
    store.check_free()
    splits = load_data(plan.data, seed=plan.seed, **plan.data_options)
    weights = None if plan.harm is None else parse_harm(plan.harm, splits.test)
    build.model_spec(plan, splits)
    attacks = plan.attacks(splits.test)
    if {"transfer", "gray-box"} & set(plan.threat_model):
        splits.need_training("a transfer or gray-box attacker")
    if any(isinstance(attack, UAP) for attack in attacks):
        splits.need_training("a universal perturbation")
    controls = plan.controls(splits.test)
    for control in controls:
        control.suits(splits.test.x)
    called = plan.triggers(splits.test)
    splits, attacker = build.dealt(plan, splits)
    check_cleaning(plan, splits)
    target = _target(plan, splits)
    device = find_device(plan.device)
    build.training_options(plan, splits)
    own = build.own_classifier(plan, splits)
    build.check_defences(plan, splits, build.untrained_classifier(plan, splits) if own is None else own[0])
    with store.locked():
        store.claim(build.identity(plan, splits), plan.model_dump(mode="json"))
        splits, cleaning = cleaned(plan, splits, store.folder)
        training: dict[str, Any] | None = None
        if own is None:
            classifier, training, remarks = build.trained_classifier(plan, splits, store.folder)
        else:
            classifier, remarks = own
            classifier.save(store.folder)
        guards = [build.guard(spec, plan, classifier, splits, store.folder) for spec in plan.defences]
        classifier.to(device)
        chosen = _sample(plan, splits.test)
        data = splits.test.subset(chosen)
        data = _to(data, device)
        probe = digest((classifier.predict(data.x[:16]).double() * 1e3).round().tolist())
        stand_in, facts, theirs = None, None, splits.train
        if "transfer" in plan.threat_model:
            stand_in, facts, theirs = build.substitute(plan, splits, attacker, classifier, store.folder)
            stand_in.to(device)
        bare = Guard(classifier, name="none")
        twins: dict[str, Guard] = {}
        if "gray-box" in plan.threat_model:
            twins = build.twins(plan, splits, classifier, store.folder)
            twins["none"].classifier.to(device)
        fit, theirs = (_to(_few(part, _UNIVERSAL_SAMPLES, plan.seed), device) for part in (splits.train, theirs))
        engines = [*attacks, *controls, *called]
        cells, left_out = _cells(plan, data, bare, guards, engines, stand_in, twins, target, fit, theirs)
        cells = [replace(cell, probe=probe) for cell in cells]
        check = replace(_huge(plan, data, bare), probe=probe)
        records, computed = _compute(store, [*cells, check])
        harm = count_harm(store, data, records[:-1], weights)
        meta = {
            "salus": salus.__version__,
            "versions": versions(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": command,
            "seed": plan.seed,
            "device": str(device),
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - started, 1),
            "samples": len(data),
            "split": splits.test.provenance.split,
            "data": {**splits.describe(), "fingerprint": splits.test.fingerprint(), "split": plan.split},
            "model": {
                "name": classifier.name,
                "fingerprint": classifier.fingerprint(),
                "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
                "training": training,
                "remarks": [*classifier.notes, *remarks],
                **whole_test(classifier, splits.test),
            },
            "guards": {guard.name: {"text": _text(guard), **guard.describe()} for guard in guards},
            "substitute": facts,
            "harm": harm and {"asked": plan.harm, **harm},
            "poison": [change.what for change in splits.train.provenance.changes if change.name in POISONS],
            "label_cleaning": cleaning,
            "feature_names": list(data.features),
            "checks": {"huge_eps": check.attack and check.attack.eps, "n": len(check.data),
                       "robust_accuracy": records[-1]["robust_accuracy"]},
        }  # fmt: skip
        records = records[:-1]
        meta["warnings"] = [*warnings(records, meta, splits), *left_out, *build.shared_with_twins(plan)]
        meta["verdict"] = verdict(records, meta)
        _write_samples(store, data, chosen)
        write_json(store.folder / "results.json", {"meta": meta, "cells": records})
        write_text(store.folder / "results.csv", _csv(records))
    failed = sum(record["error"] is not None for record in records)
    return Outcome(meta, records, computed, failed)


def _cells(
    plan: Plan,
    data: Dataset,
    bare: Guard,
    guards: Sequence[Guard],
    attacks: Sequence[Attack],
    stand_in: Classifier | None,
    twins: Mapping[str, Guard],
    target: int | None,
    fit: Dataset,
    theirs: Dataset,
) -> tuple[list[Cell], list[str]]:
    """Lay out the grid, and say which attacks are left out of a threat model that they do not go with."""
    cells = [Cell(data, guard) for guard in (bare, *guards)]
    left_out: dict[str, list[str]] = {}
    for attack in attacks:
        aim = target if attack.targeted else None
        if attack.threat_model is not None:
            goal = data.classes.index(attack.backdoor.target) if isinstance(attack, Trigger) else None
            cells.extend(Cell(data, guard, attack, attack.threat_model, target=goal) for guard in (bare, *guards))
            continue
        for threat in plan.threat_model:
            if refusal(attack, threat) is not None:
                left_out.setdefault(threat, []).append(attack.title)
                continue
            for guard in (bare, *guards):
                alone = guard is bare
                if (threat == "white-box" and not alone) or (threat in ("oblivious", "adaptive") and alone):
                    continue
                moved = threat == "transfer"
                twin = twins[guard.name] if threat == "gray-box" else None
                cells.append(
                    Cell(data, guard, attack, threat, stand_in if moved else None, twin, aim, theirs if moved else fit)
                )
    why = {
        "decision-only": "which ask for more than answers", "adaptive": "which have no adaptive form",
        "gray-box": "which have no adaptive form",
    }  # fmt: skip
    return cells, [
        f"Left out of the threat model {threat}: {', '.join(dict.fromkeys(names))}, {why[threat]}."
        for threat, names in left_out.items()
    ]


def _huge(plan: Plan, data: Dataset, bare: Guard) -> Cell:
    few = torch.arange(min(len(data), _HUGE_SAMPLES), device=data.x.device)
    eps = HUGE_EPS * (data.bounds[1] - data.bounds[0])
    return Cell(data.subset(few), bare, PGD(eps=eps, steps=20, bounds=data.bounds, seed=plan.seed), "white-box")


def _compute(store: Store, cells: Sequence[Cell]) -> tuple[list[dict[str, Any]], int]:
    verdicts: dict[tuple[str, int], Verdict] = {}
    records, computed = [], 0
    with progress("Audit", len(cells)) as advance:
        for cell in cells:
            key = cell.key()
            record = store.read_cell(key)
            if record is None:
                computed += 1
                advance(0, cell.title())
                where = (cell.guard.name, len(cell.data))
                try:
                    if where not in verdicts:
                        verdicts[where] = cell.guard(cell.data.x)
                    with store.cell_rows(key, len(cell.data)) as append:
                        record = cell.compute(verdicts[where], lambda note: advance(0, note), append)
                    record["id"] = key[:16]
                    store.write_cell(key, record)
                except StoreError:
                    raise
                except Exception as error:  # whatever a user's model raises fails its cell, and no other
                    record = {**cell.blank(), "id": key[:16], "error": f"{type(error).__name__}: {error}"}
                    console.print(f"{cell.title()} failed: {error}")
            record.pop("sha256", None)
            records.append(record)
            advance(1)
    return records, computed


def _write_samples(store: Store, data: Dataset, indices: torch.Tensor) -> None:
    """Store the attacked samples: ``indices`` among the test samples, ``x`` and ``y``."""
    size = rows_held(data.x, len(data))
    with tensor_rows(store.folder / "samples.safetensors", len(data)) as append:
        for rows, x, y in zip(*(column.split(size) for column in (indices, data.x, data.y)), strict=True):
            append({"indices": rows, "x": x, "y": y})


def _sample(plan: Plan, test: Dataset) -> torch.Tensor:
    """Draw test samples at natural prevalence."""
    if plan.samples is None or plan.samples >= len(test):
        return torch.arange(len(test))
    return _drawn(len(test), plan.samples, plan.seed)


def _few(data: Dataset, most: int, seed: int) -> Dataset:
    return data if len(data) <= most else data.subset(_drawn(len(data), most, seed))


def _drawn(among: int, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(among, generator=generator)[:count].sort().values


def _target(plan: Plan, splits: Splits) -> int | None:
    if plan.target is None:
        return None
    if plan.target not in splits.test.classes:
        raise OptionError(
            f"Data {splits.name!r} have no class {plan.target!r} to aim for; "
            f"{nearest(plan.target, splits.test.classes)}"
        )
    return splits.test.classes.index(plan.target)


def _to(data: Dataset, device: torch.device) -> Dataset:
    groups = None if data.groups is None else data.groups.to(device)
    return replace(data, x=data.x.to(device), y=data.y.to(device), groups=groups)


def whole_test(classifier: Classifier, test: Dataset) -> dict[str, Any]:
    """Measure the clean accuracy on the whole test part, with its interval."""
    return proportion(classifier.predict(test.x).argmax(1) == test.y, groups=test.groups).named("clean_accuracy")


def _text(guard: Guard) -> str:
    parts = [detector.describe() for detector in guard.detectors]
    if guard.purifier is not None:
        parts.append(f"purifier {guard.purifier.name} {guard.purifier.settings()}")
    return "; then ".join(parts)


def _csv(records: Sequence[dict[str, Any]]) -> str:
    flat = [{key: value for key, value in record.items() if not isinstance(value, (dict, list))} for record in records]
    fields = list(dict.fromkeys(key for record in flat for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()
