"""What an audit writes: what was audited and how, its records, and the samples under attack."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import salus
from salus.atomic import tensor_rows, write_json, write_text
from salus.attacks.editions import cited, split_ids
from salus.attacks.poisoning import POISONS
from salus.audit.grid import CellGrid
from salus.audit.leeway import Leeway, attacker_can, doubts
from salus.audit.setup import Setup, Workbench
from salus.audit.summary import verdict, warnings
from salus.batches import rows_held
from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.plausibility import Values, implausible
from salus.detectors.base import DEFAULT_FALSE_ALARM_RATE
from salus.guard import Guard
from salus.metrics import commonest, proportion
from salus.storage import RESULTS_FORM, versions

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class AuditResults:
    """A finished audit.

    Attributes:
        setup: what was asked, parsed.
        bench: what its cells stand on.
        grid: the cells.
        records: of the cells, in their order.
        check: the record of the check for masked gradients; None where nobody sees any.
        harm: the weights of harm as plain values; None where nothing is weighed.
        values: what the data's values look like.
        leeways: how much the attacks can move, by norm and radius.
    """

    setup: Setup
    bench: Workbench
    grid: CellGrid
    records: Sequence[Record]
    check: Record | None
    harm: Record | None
    values: Values
    leeways: Mapping[tuple[str, float | None], Leeway]

    def meta(self, command: str, seconds: float) -> Record:
        """Say what was audited and how, the verdict and the warnings, as plain values for ``results.json``."""
        plan, splits, grid = self.setup.plan, self.bench.splits, self.grid
        meta: Record = {
            "salus": salus.__version__,
            "versions": versions(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": command,
            "seed": plan.seed,
            "device": str(self.setup.device),
            "threads": torch.get_num_threads(),
            "seconds": round(seconds, 1),
            "samples": len(grid.data),
            "commonest": commonest(grid.data.y, grid.data.classes)._asdict(),
            "split": splits.test.provenance.split,
            "data": {**splits.describe(), "fingerprint": splits.test.fingerprint(), "split": plan.split},
            "model": self._model(),
            "guards": {guard.name: {"text": _text(guard), **guard.describe()} for guard in self.bench.guards},
            "substitute": self.bench.substitute_facts,
            "false_alarm_rate": {"asked": plan.false_alarm_rate, "default": DEFAULT_FALSE_ALARM_RATE},
            "values": asdict(self.values),
            "harm": self.harm and {"asked": plan.harm, **self.harm},
            "poison": [change.what for change in splits.train.provenance.changes if change.name in POISONS],
            "label_cleaning": self.bench.cleaning,
            "codes": self._codes(),
            "feature_names": list(grid.data.features),
            "checks": {
                name: None if self.check is None else self.check[field]
                for name, field in (("huge_eps", "eps"), ("n", "n"), ("robust_accuracy", "robust_accuracy"))
            },
        }
        named = [(defence.spec, defence.files()) for defence in self.setup.defences]
        pairs = [threat.caveat(spec, files) for spec, files in named for threat in self.setup.threats]
        caveats = [caveat for caveat in pairs if caveat is not None]
        rates = [defence.remark(splits) for defence in self.setup.defences]
        found = tuple(self.leeways.values())
        meta["warnings"] = [
            *implausible(splits, self.values),
            *doubts(found, grid.data, self.values),
            *(remark for remark in rates if remark is not None),
            *warnings(self.records, meta, splits),
            *grid.left_out,
            *caveats,
        ]
        meta["limits"] = attacker_can(found, meta["data"], self.values)
        meta["verdict"] = verdict(self.records, meta)
        return meta

    def _codes(self) -> list[Record]:
        """Name every id of NIST AI 100-2 and MITRE ATLAS that stands somewhere in the results, by edition."""
        ids = [
            key for record in self.records for field in ("nist_id", "atlas") for key in split_ids(record[field] or "")
        ]
        ids += [key for guard in self.bench.guards for part in guard.parts for key in part.mitigations]
        ids += [key for poison in self.setup.plan.poisons() for key in poison.place.ids]
        cleaning = self.setup.plan.cleaning()
        return cited([*ids, *(() if cleaning is None else cleaning.mitigations)])

    def _model(self) -> Record:
        trained = self.bench.trained
        classifier = trained.classifier
        known = {
            "name": classifier.name,
            "fingerprint": classifier.fingerprint(),
            "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
            "training": trained.training,
            "remarks": [*classifier.notes, *trained.remarks],
        }
        if (remote := self.setup.subject.remote) is not None:  # asked about the attacked samples alone
            return {**known, "parameters": None, "endpoint": remote.endpoint.facts()}
        return {
            **known,
            "architecture": classifier.architecture,
            **whole_test(classifier, self.bench.splits.test),
        }


def write_results(folder: Path, meta: Record, results: AuditResults) -> None:
    """Write ``results.json``, ``results.csv`` and the samples under attack."""
    _write_samples(folder, results.grid)
    write_json(folder / "results.json", {"form": RESULTS_FORM, "meta": meta, "cells": results.records})
    write_text(folder / "results.csv", _csv(results.records))


def whole_test(classifier: Classifier, test: Dataset) -> dict[str, Any]:
    """Measure the clean accuracy on the whole test part, with its interval, and that of the best constant answer."""
    constant = {"commonest": commonest(test.y, test.classes)._asdict()}
    return constant | proportion(classifier.predict(test.x).argmax(1) == test.y, groups=test.groups).named(
        "clean_accuracy"
    )


def _text(guard: Guard) -> str:
    parts = [detector.describe() for detector in guard.detectors]
    if guard.purifier is not None:
        parts.append(f"purifier {guard.purifier.name} {guard.purifier.settings()}")
    return "; then ".join(parts)


def _write_samples(folder: Path, grid: CellGrid) -> None:
    """Store the attacked samples: ``indices`` among the test samples, ``x`` and ``y``."""
    data, size = grid.data, rows_held(grid.data.x, len(grid.data))
    columns = (column.split(size) for column in (grid.indices, data.x, data.y))
    with tensor_rows(folder / "samples.safetensors", len(data)) as append:
        for indices, x, y in zip(*columns, strict=True):
            append({"indices": indices, "x": x, "y": y})


def _csv(records: Sequence[Record]) -> str:
    flat = [{key: value for key, value in record.items() if not isinstance(value, (dict, list))} for record in records]
    fields = list(dict.fromkeys(key for record in flat for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()
