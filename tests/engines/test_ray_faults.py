"""Audits on a Ray cluster that loses processes, nodes and its head at random points; minutes long."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from salus.audit import Plan, run_audit
from salus.audit.work import Begun, Bytes, Computed, Sheet, compute_cells
from salus.engines import EngineOptions, open_engine

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.soak

FAULTS = 20
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}

PLAN: dict[str, Any] = {
    "data": "breast-cancer",
    "false_alarm_rate": 0.05,
    "defence": ["bit-depth:bits=4+mahalanobis", "i-defender:components=2", "magnet:epochs=2"],
    "attack": ["fgsm", "pgd:steps=10", "square:queries=50", "hop-skip-jump:queries=100"],
    "eps": [0.02, 0.05, 0.1],
    "threat_model": ["white-box", "transfer", "oblivious", "adaptive"],
    "training": {"epochs": 2},
    "samples": 60,
}


@pytest.fixture
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone") / "run"
    run_audit(Plan.of(PLAN), folder)
    torch.set_num_threads(threads)
    return folder


def _results(folder: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["cells"]
    return [{name: value for name, value in cell.items() if name not in ("seconds", "cost")} for cell in cells]


def _equal(one: Path, other: Path) -> None:
    first, second = _results(one), _results(other)
    assert first == second
    for cell in first:
        left, right = (load_file(folder / "cells" / f"{cell['id']}.safetensors") for folder in (one, other))
        assert all(torch.equal(left[name], right[name]) for name in left)


def _workers(cluster: Any) -> list[int]:
    """List the processes of this cluster that compute tasks now."""
    nodes = [cluster.head_node, *cluster.worker_nodes]
    raylets = {each.process.pid for node in nodes for each in node.all_processes.get("raylet", ())}
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_text()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if line.startswith("ray::_work") and parent in raylets:
            found.append(int(place.name))
    return found


def test_twenty_faults_at_random_points_cost_time_alone(
    cluster: Any, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, folder, draws = tmp_path / "notes", tmp_path / "run", random.Random(0)
    notes.mkdir()

    def noted(sheet: Sheet, keys: tuple[str, ...], place: Path | None, begun: Begun, *arrays: Bytes) -> Computed:
        for key in keys:
            with (notes / key[:16]).open("a") as file:
                file.write(f"{time.time()}\n")
        return compute_cells(sheet, keys, place, begun, *arrays)

    monkeypatch.setattr("salus.audit.spread.compute_cells", noted)
    done: Counter[str] = Counter()
    extra = [cluster.add_node(**NODE)]
    with open_engine(EngineOptions(engine=f"ray:{cluster.address}")) as engine, ThreadPoolExecutor(1) as pool:
        audit = pool.submit(run_audit, Plan.of(PLAN), folder, engine=engine)
        while not audit.done() and sum(done.values()) < FAULTS:  # Ray starts nodes from the main thread alone
            time.sleep(draws.uniform(0.5, 3))
            workers = _workers(cluster)
            if not list(folder.glob("cells/*.json")):
                continue
            if draws.random() < 0.3:
                cluster.remove_node(extra.pop(), allow_graceful=False)
                extra.append(cluster.add_node(**NODE))
                done["nodes"] += 1
            elif workers:
                with suppress(ProcessLookupError):
                    os.kill(draws.choice(workers), signal.SIGKILL)
                    done["workers"] += 1
        outcome = audit.result()
    print(f"{dict(done)} in {outcome.meta['seconds']} s")
    assert done["workers"] and done["nodes"]
    assert not outcome.failed
    assert outcome.computed == len(outcome.cells) + 1
    _equal(alone, folder)
    for note in notes.iterdir():  # who began a second time had not been stored
        stored = (folder / "cells" / f"{note.name}.json").stat().st_mtime
        assert all(float(line) <= stored for line in note.read_text().split())
    assert len(list(notes.iterdir())) == len(list((folder / "cells").glob("*.json")))


def test_a_head_that_dies_ends_the_audit_in_a_sentence_and_it_goes_on_from_the_folder(
    cluster: Any, alone: Path, tmp_path: Path
) -> None:
    folder, plan = tmp_path / "run", tmp_path / "plan.yaml"
    plan.write_text(json.dumps(PLAN))
    words = [sys.executable, "-m", "salus.cli", "audit", str(plan), "--out", str(folder)]
    with subprocess.Popen(
        [*words, "--engine", f"ray:{cluster.address}"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as audit:
        for _ in range(3000):
            if len(list(folder.glob("cells/*.json"))) >= 20:
                break
            time.sleep(0.05)
        os.kill(cluster.head_node.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
        _, errors = audit.communicate(timeout=300)
    assert audit.returncode == 2
    assert "The Ray cluster is gone" in errors
    assert "Traceback" not in errors
    stored = len(list(folder.glob("cells/*.json")))
    assert 20 <= stored < len(_results(alone))
    again = subprocess.run(
        [*words, "--jobs", "2"], check=True, capture_output=True, text=True, timeout=900, env={**os.environ}
    )
    assert f"{stored} stored before" in again.stdout
    _equal(alone, folder)
