"""What an engine adds to an audit: cells of about a second, cells of nothing, and a real plan side by side.

Parts, each alone: ``seconds`` (500 cells of about one second of work, on two workers of each engine: the share of
their time that is work), ``cores`` (what a cell takes without any engine, in one audit alone and in two side by
side), ``tiny`` (10,000 cells of milliseconds: what each costs beside its work), ``plan`` (the cells of the
heartbeats' defences in one process of one thread, in one of two, and by ``--jobs 2``; its networks and guards come
from the folder of an audit of that plan, and are not trained again). Results land in benchmarks/engines.json.

Run on a machine with nothing else to do: python benchmarks/engines.py seconds tiny; and ... plan --trained FOLDER
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from salus.atomic import write_json
from salus.audit import Plan, run_audit
from salus.engines import Engine, EngineOptions, open_engine
from salus.storage import versions

RESULT = Path(__file__).with_suffix(".json")
TIMES = ("seconds", "cost")


def main() -> None:
    """Measure the parts that are named, and keep each until it is measured again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--trained", type=Path, help="the folder of an audit of the plan, for its networks and guards")
    parser.add_argument("--cells", type=int, default=500, help="cells of a second")
    parser.add_argument("--tiny", type=int, default=10_000, help="cells of nothing")
    parser.add_argument("--samples", type=int, default=20, help="beats that the plan attacks")
    parser.add_argument("--defence", action="append", help="of the plan's, these alone; all when not given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part in options.parts:
        measured = {
            "command": shlex.join(["python", "benchmarks/engines.py", part, *_given(options)]),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            "versions": versions(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **PARTS[part](options),
        }
        print(json.dumps({part: measured}, indent=2), flush=True)
        before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        write_json(RESULT, {**before, part: measured})


def _given(options: argparse.Namespace) -> list[str]:
    """List what was given beside the parts, but for the folder."""
    words = ["--cells", str(options.cells), "--tiny", str(options.tiny), "--samples", str(options.samples)]
    for defence in options.defence or ():
        words += ["--defence", defence]
    return [*words, *(["--trained", "FOLDER"] if options.trained else [])]


def _engines() -> dict[str, Callable[[], AbstractContextManager[Engine | None]]]:
    return {
        "one process": nullcontext,
        "2 processes": lambda: open_engine(EngineOptions(jobs=2, task_cores=1)),
        "Ray, 2 workers": lambda: open_engine(EngineOptions(engine="ray", jobs=2)),
    }


def _audit(plan: Plan, engine: Engine | None, trained: Path | None = None) -> dict[str, Any]:
    """Run an audit anew, with what was trained before; return its cells and how long it took, trainings left out."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        if trained is not None:
            shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("cells", "bare", "results.*", "report*"))
        started = time.perf_counter()
        outcome = run_audit(plan, folder, engine=engine)
        wall = time.perf_counter() - started
    if outcome.failed:
        raise SystemExit(f"{outcome.failed} cells failed: {next(c['error'] for c in outcome.cells if c['error'])}")
    cells = [{key: value for key, value in cell.items() if key not in TIMES} for cell in outcome.cells]
    return {"cells": cells, "wall": wall, "work": sum(cell["seconds"] for cell in outcome.cells)}


def _trained(plan: Plan, place: str) -> Path:
    """Train what the plan needs, once."""
    few = plan.model_copy(update={"attack": ("fgsm:eps=0.01",), "samples": 4})
    run_audit(few, Path(place) / "trained")
    return Path(place) / "trained"


def _many(count: int, samples: int, attack: str) -> Plan:
    return Plan.of(
        {
            "data": "breast-cancer",
            "defence": "none",
            "threat_model": "white-box",
            "attack": [f"{attack}eps={0.01 + number / 10**6:.6f}" for number in range(count)],
            "samples": samples,
        }
    )


def _seconds(options: argparse.Namespace) -> dict[str, Any]:
    """Cells that take about a second: work that was done over the time that two workers had."""
    plan = _many(options.cells, 100, "hop-skip-jump:queries=1000,")
    few = plan.model_copy(update={"attack": plan.attack[:20]})
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        trained = _trained(plan, place)
        for name, start in _engines().items():
            alone = name == "one process"
            with start() as engine:
                if engine is not None:  # its processes have started, as those of a long audit have
                    _audit(few, engine, trained)
                found = _audit(few if alone else plan, engine, trained)
            each = found["work"] / (len(found["cells"]) - 1)
            figures[name] = {"seconds": round(found["wall"], 1), "seconds_a_cell": round(each, 3)}
            if not alone:
                figures[name]["efficiency"] = round(found["work"] / (2 * found["wall"]), 3)
                # Beside one process alone, whose core has nothing next to it.
                quiet = figures["one process"]["seconds_a_cell"] * len(plan.attack)
                figures[name]["efficiency_beside_one_process"] = round(quiet / (2 * found["wall"]), 3)
            print(name, figures[name], flush=True)
    return {"cells": options.cells, **figures}


def _cores(options: argparse.Namespace) -> dict[str, Any]:
    """Say what two cores allow, whatever hands out the work: a cell of one audit alone, and of two side by side."""
    plan = _many(20, 100, "hop-skip-jump:queries=1000,")
    with tempfile.TemporaryDirectory() as place:
        trained = _trained(plan, place)
        _audit(plan, None, trained)
        found = _audit(plan, None, trained)
        alone, apart = found["work"] / (len(found["cells"]) - 1), _apart(plan, trained)
    return {
        "cells": 20,
        "alone": round(alone, 3),
        "two_apart": round(apart, 3),
        "most_gained": round(2 * alone / apart, 2),
    }


def _apart(plan: Plan, trained: Path) -> float:
    """Run two audits at once that know nothing of each other; what their cells take is what two cores allow."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(_audit, [plan] * 2, [None] * 2, [trained] * 2))  # both have started
        both = list(pool.map(_audit, [plan] * 2, [None] * 2, [trained] * 2))
    return float(sum(found["work"] for found in both) / sum(len(found["cells"]) - 1 for found in both))


def _tiny(options: argparse.Namespace) -> dict[str, Any]:
    """Cells that take next to nothing: milliseconds that each costs beside its work."""
    plan = _many(options.tiny, 8, "fgsm:")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        trained = _trained(plan, place)
        for name, start in _engines().items():
            alone = name == "one process"
            asked = plan.model_copy(update={"attack": plan.attack[: options.tiny // 10]}) if alone else plan
            with start() as engine:
                found = _audit(asked, engine, trained)
            beside, count = found["wall"] - found["work"] / (1 if alone else 2), len(asked.attack)
            figures[name] = {
                "cells": count,
                "seconds": round(found["wall"], 1),
                "work_ms_a_cell": round(1e3 * found["work"] / count, 2),
                "beside_ms_a_cell": round(1e3 * beside / count, 2),
            }
            print(name, figures[name], flush=True)
    return {"cells": options.tiny, **figures}


def _plan(options: argparse.Namespace) -> dict[str, Any]:
    """The heartbeats' defences: one process of one thread, one of two, and two of one."""
    place = Path(__file__).parents[1] / "src" / "salus_studies" / "defences" / "mitdb.yaml"
    plan = Plan.read(place, {"samples": options.samples})
    if options.defence:
        plan = plan.model_copy(update={"defence": tuple(each for each in plan.defence if each in options.defence)})
    if options.trained is None:
        raise SystemExit("Name the folder of an audit of the plan: --trained FOLDER")
    figures: dict[str, Any] = {}
    first: list[dict[str, Any]] = []
    ways = {
        "one process, 1 thread": (1, nullcontext),
        "one process, 2 threads": (2, nullcontext),
        "2 processes": (1, _engines()["2 processes"]),
    }
    for name, (threads, start) in ways.items():
        torch.set_num_threads(threads)
        with start() as engine:
            found = _audit(plan, engine, options.trained)
        first = first or found["cells"]
        differ = sum(one != other for one, other in zip(first, found["cells"], strict=True))
        figures[name] = {"seconds": round(found["wall"], 1), "cells_that_differ": differ}
        print(name, figures[name], flush=True)
    torch.set_num_threads(1)
    alone = figures["one process, 1 thread"]["seconds"]
    return {
        "samples": options.samples,
        "defences": list(plan.defence),
        "cells": len(first),
        **figures,
        "times_as_fast": round(alone / figures["2 processes"]["seconds"], 2),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "seconds": _seconds,
    "cores": _cores,
    "tiny": _tiny,
    "plan": _plan,
}

if __name__ == "__main__":
    main()
