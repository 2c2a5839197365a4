"""The passes through classifiers that an audit's cells take, counted by one wrapper around them.

    PYTHONPATH=src python benchmarks/audit_passes.py src/salus_studies/defences/mitdb.yaml --samples 24 --out RUN

The same file counts an older version's where PYTHONPATH names that; ``--compare OLD NEW`` sets two counts beside each
other, cell by cell, with what each leaves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import salus
from salus.audit import Plan, run_audit
from salus.classifier import Classifier


class Passes:
    """Samples that went through a classifier, and those of them with a gradient to come."""

    forward = 0
    graded = 0


@contextmanager
def counting() -> Iterator[Passes]:
    """Count what goes through every classifier inside the block."""
    passes, forward = Passes(), Classifier.forward

    def counted(self: Classifier, x: Tensor) -> Tensor:
        passes.forward += len(x)
        passes.graded += len(x) if torch.is_grad_enabled() else 0
        return forward(self, x)

    Classifier.forward = counted  # type: ignore[method-assign]
    try:
        yield passes
    finally:
        Classifier.forward = forward  # type: ignore[method-assign]


def count(plan: Plan, out: Path) -> dict[str, Any]:
    """Run an audit and count each cell that it computes."""
    rows: dict[str, dict[str, Any]] = {}
    run: Any = sys.modules["salus.audit.run"]
    measure_cell = run.measure_cell
    with counting() as passes:

        def counted(cell: Any, *args: Any, **options: Any) -> dict[str, Any]:
            before = passes.forward, passes.graded
            record: dict[str, Any] = measure_cell(cell, *args, **options)
            rows[cell.title()] = {
                "threat_model": record["threat_model"],
                "guard": record["guard"],
                "forward": (passes.forward - before[0]) / record["n"],
                "with gradient": (passes.graded - before[1]) / record["n"],
                "seconds": record["seconds"],
                "robust_accuracy": record["robust_accuracy"],
                "attack_success_rate": record["attack_success_rate"],
                "variants": record.get("variants"),
            }
            print(f"{cell.title()}: {rows[cell.title()]['forward']:.0f} passes a sample", flush=True)
            return record

        run.measure_cell = counted
        try:
            outcome = run_audit(plan, out, command="benchmarks/audit_passes.py")
        finally:
            run.measure_cell = measure_cell
    for name in sorted({str(row["threat_model"]) for row in rows.values()}):
        total = sum(row["forward"] for row in rows.values() if str(row["threat_model"]) == name)
        print(f"{name}: {total:,.0f} passes a sample in all its cells")
    return {
        "salus": str(Path(salus.__file__).parent),
        "torch": torch.__version__,
        "samples": outcome.meta["samples"],
        "passes a sample": sum(row["forward"] for row in rows.values()),
        "failed": outcome.failed,
        "cells": rows,
    }


def compare(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Print two counts side by side."""
    print(f"{'cell':70} {'passes':>8} {'now':>8}   {'left':>6} {'now':>6}")
    for title, before in old["cells"].items():
        after = new["cells"].get(title)
        if after is None or before["robust_accuracy"] is None:
            continue
        weaker = "  weaker" if after["robust_accuracy"] > before["robust_accuracy"] + 1e-9 else ""
        print(
            f"{title[:70]:70} {before['forward']:8.0f} {after['forward']:8.0f}   "
            f"{100 * before['robust_accuracy']:5.1f}% {100 * after['robust_accuracy']:5.1f}%{weaker}"
        )
    both = [title for title in old["cells"] if title in new["cells"]]
    sums = [sum(count["cells"][title]["forward"] for title in both) for count in (old, new)]
    print(f"all {len(both)} cells: {sums[0]:,.0f} passes a sample, now {sums[1]:,.0f}: {sums[1] / sums[0]:.3f} of them")


def main() -> None:
    """Count, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, nargs="?")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--defence", action="append", help="in place of the plan's")
    parser.add_argument("--variants", help="union or alone, where the version knows them")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compare", type=Path, nargs=2)
    given = parser.parse_args()
    if given.compare is not None:
        compare(*(json.loads(path.read_text()) for path in given.compare))
        return
    named = {"samples": given.samples, "defence": given.defence, "variants": given.variants}
    plan = Plan.read(given.plan, {key: value for key, value in named.items() if value is not None})
    counted = count(plan, given.out)
    print(f"{counted['passes a sample']:,.0f} passes a sample in {len(counted['cells'])} cells")
    if given.json is not None:
        given.json.write_text(json.dumps(counted, indent=1) + "\n")


if __name__ == "__main__":
    main()
