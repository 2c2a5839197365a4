"""Every attack beside the same attack of other libraries, on real heartbeats and on Fashion-MNIST.

Run: pip install -e '.[bench]'; pip install --no-deps adv-lib==0.2.8
     python benchmarks/attacks.py [--data beats|fashion|both] [--only pgd,...] [--samples N] [--repeats R]

All libraries attack the same samples of the same network in one run, in turn. Passes and queries are counted by one
module around the network, success and distance are judged on the bare network. Each row is stored as soon as it is
done, and replaces the row of an earlier run; `salus reproduce attacks --rebuild` makes docs/attacks.md of them. Ends
with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from attack_bars import Record, Result, judge
from attack_peers import PEERS, Task, adv_lib
from attack_rows import ROWS
from attack_runs import SLOW, Repeat, bare_passes, list_contenders, new_result, run, summarise
from bench_data import Bench, bench, write

STORED = Path(__file__).parents[1] / "src" / "salus_studies" / "attacks" / "results.json"


def main() -> int:
    """Run the rows that are asked for, print and store each; return 1 where a bar is missed."""
    options = _options()
    torch.set_num_threads(options.threads)
    missed: list[str] = []
    for data in ("beats", "fashion") if options.data == "both" else (options.data,):
        samples = bench(data)
        for name, eps in [(row, radius) for row in options.only for radius in ROWS[row].eps[data] or (None,)]:
            record = run_row(name, eps, samples, options)
            verdicts = judge(ROWS[name].bars, record)
            record["bars"] = [vars(verdict) for verdict in verdicts]
            store(options.out, record)
            print(table(record), flush=True)
            missed += [f"{data}, {record['title']}: {verdict.bar}" for verdict in verdicts if verdict.met is False]
    if adv_lib.STAND_INS:
        print(f"{', '.join(adv_lib.STAND_INS)} did not import: empty modules stood in for them in adv-lib.")
    print("\n".join(["every bar is met"] if not missed else ["bars that are missed:", *missed]))
    return int(bool(missed))


def run_row(name: str, eps: float | None, samples: Bench, options: argparse.Namespace) -> Record:
    """Run every contender of a row in turn, and again for each repeat."""
    row, data = ROWS[name], samples.name
    task = make_task(name, eps, samples, options.samples)
    repeats = options.repeats or row.repeats
    results, runs = [], []
    for contender, error in list_contenders(task):
        results.append(new_result(contender.library, contender.settings, row, error))
        runs.append((contender, results[-1]))
    bare: list[Repeat] = []
    for _ in range(repeats):
        bare.append(bare_passes(samples.classifier, task.x))
        for contender, result in runs:
            if not result["error"] and (not result["repeats"] or result["repeats"][0]["seconds"] < SLOW):
                run(contender, task, row, result, bare[-1])
    for result in results:
        summarise(result)
    return {
        "row": name,
        "data": data,
        "eps": eps,
        "largest": eps == max(row.eps[data], default=None),
        "title": row.title,
        "attack": row.attack,
        "goal": row.goal,
        "norm": row.norm,
        "samples": len(task.x),
        "threads": options.threads,
        "accuracy": samples.accuracy,
        "command": shlex.join(["python", "benchmarks/attacks.py", *sys.argv[1:]]),
        "results": results,
    }


def make_task(name: str, eps: float | None, samples: Bench, count: int | None) -> Task:
    """Choose the samples of a row."""
    row, data = ROWS[name], samples.name
    many = min(count or row.samples[data], row.samples[data])
    return Task(
        row=name,
        data=data,
        model=samples.classifier,
        x=samples.x[:many].clone(),
        y=samples.y[:many].clone(),
        classes=len(samples.classifier.classes),
        norm=row.norm,
        eps=eps,
        budget=row.budget,
        few=min(row.few[data], many),
        held_out=(samples.x[1000:1500].clone(), samples.y[1000:1500].clone()),
        starts=samples.starts(many),
    )


def table(record: Record) -> str:
    """Show a record and its bars."""
    eps = "" if record["eps"] is None else f", eps {record['eps']:.4g}"
    lines = [f"\n{record['data']}, {record['title']}{eps}, {record['samples']} samples, {record['threads']} threads"]
    lines.append(
        f"{'library':>14} {'settings':32} {'samples':>7} {'success':>8} {'median':>8} {'queries':>8} {'backward':>8} "
        f"{'ms each':>8} {'CPU ms':>8} {'of bare':>8} {'of Salus':>8}"
    )
    first = next((r for r in record["results"] if r["library"] == "salus" and not r["error"]), None)
    for result in record["results"]:
        name = f"{result['library'].replace('adversarial-robustness-toolbox', 'art'):>14} {result['settings']:32}"
        if result["error"]:
            lines.append(f"{name} cannot run: {result['error']}")
            continue
        each, cpu = (1e3 * result[unit] / result["attacked"] for unit in ("seconds", "cpu"))
        ratio = "" if first is None else f"{each * first['attacked'] / 1e3 / first['seconds']:8.2f}"
        lines.append(
            f"{name} {result['attacked']:7} {rate(result):8.1%} {middle(result):8.4g} {result['queries']:8.1f} "
            f"{result['backward']:8.1f} {each:8.2f} {cpu:8.2f} {result['of_bare']:8.2f} {ratio}"
        )
    for verdict in record["bars"]:
        lines.append(f"  {SIGNS[verdict['met']]:6} {verdict['bar']}: {verdict['found']}")
    return "\n".join(lines)


SIGNS = {True: "met", False: "MISSED", None: "-"}


def rate(result: Result) -> float:
    """Compute the share of samples that fell."""
    return float(result["success"].count("1") / result["samples"])


def middle(result: Result) -> float:
    """Compute the median distance of those that fell."""
    fallen = [d for d, won in zip(result["distance"], result["success"], strict=True) if won == "1"]
    return float(median(fallen)) if fallen else float("nan")


def store(path: Path, record: Record) -> None:
    """Put a record in the place of the earlier one of the same row, data and eps."""
    key = ("data", "row", "eps")
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    records = [
        old for old in stored.get("records", []) if [old[name] for name in key] != [record[name] for name in key]
    ] + [record]
    order = list(ROWS)
    records.sort(key=lambda r: (r["data"], order.index(r["row"]) if r["row"] in order else -1, -(r["eps"] or 0)))
    write(path, {**stored, "meta": meta(), "records": records})


def meta() -> dict[str, Any]:
    """Say what ran where."""
    names = ("torch", "numpy", *(library.LIBRARY for library in PEERS))
    versions = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": f"{processor}, {os.cpu_count()} cores",
        "seed": 0,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("beats", "fashion", "both"), default="both")
    parser.add_argument("--only", type=_rows, default=list(ROWS), help=f"rows, by comma: {','.join(ROWS)}")
    parser.add_argument("--samples", type=int, help="attack at most so many")
    parser.add_argument("--repeats", type=int, help="run each contender so often")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--out", type=Path, default=STORED, help="where results are stored (default %(default)s)")
    return parser.parse_args()


def _rows(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no row {unknown[0]}; choose from {', '.join(ROWS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
