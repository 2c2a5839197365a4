"""Ray, on a cluster of several nodes, each a process of its own on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from safetensors.torch import load_file

from salus.audit import Plan, run_audit
from salus.engines import EngineOptions, Needs, Task, open_engine
from salus.engines.ray import Ray
from salus.errors import EngineError, OptionError

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

# What follows is called by tasks, in processes that could not import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def add(one: Any, other: Any) -> Any:
    return one + other


def where(one: Any) -> tuple[int, int, str]:
    return os.getpid(), torch.get_num_threads(), str(id(one))


def refuse(word: str) -> None:
    raise OptionError(f"{word} will not do.")


def die(place: Path, times: int) -> str:
    tries = len(list(place.iterdir()))
    (place / str(tries)).touch()
    if tries < times:
        os._exit(9)
    return "lives"


def fill_memory(gigabytes: float) -> int:
    held = []
    for _ in range(int(gigabytes * 20)):
        held.append(torch.ones(12_500_000))  # 50 MB
        time.sleep(0.01)
    return len(held)


def total(values: torch.Tensor) -> tuple[str, float]:
    return str(values.device), float(values.sum())


PLAN = {
    "data": "breast-cancer",
    "false_alarm_rate": 0.05,
    "defence": "bit-depth:bits=4+mahalanobis",
    "attack": ["pgd:eps=0.05,steps=2", "square:queries=10,eps=0.05"],
    "threat_model": ["white-box", "transfer", "oblivious", "adaptive"],
    "training": {"epochs": 2},
    "samples": 24,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # other tests run beside it
    store = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **store})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def engine(cluster: Any) -> Iterator[Ray]:
    with open_engine(EngineOptions(engine=f"ray:{cluster.address}")) as engine:
        assert isinstance(engine, Ray)
        yield engine


def test_tasks_run_on_all_nodes_and_come_back_once(engine: Ray, tmp_path: Path) -> None:
    assert engine.slots == 3
    assert "3 nodes with 3 cores" in engine.words
    shared = engine.share([1, 2])
    tasks = [Task(str(number), add, (shared, [number])) for number in range(60)]
    done = list(engine.run(tasks))
    assert {each.task: each.value for each in done} == {task: [1, 2, number] for number, task in enumerate(tasks)}
    found = [each.value for each in engine.run([Task("where", where, (shared,)) for _ in range(40)])]
    assert {threads for _, threads, _ in found} == {1}
    assert len(set(found)) == len({process for process, _, _ in found})  # read once in each process
    mixed = [
        Task("refused", refuse, ("this",)),
        Task("broken", add, (1, "a")),
        Task("locked", add, (threading.Lock(), 1)),
        Task("big", fill_memory, (1.0,), Needs(1, memory=300 * 10**6)),
        Task("dies", die, (tmp_path, 1)),
    ]
    outcome = {each.task.key: each for each in engine.run(mixed)}
    assert outcome["refused"].error == "this will not do."
    assert str(outcome["broken"].error).startswith("TypeError")
    assert "cannot be sent" in str(outcome["locked"].error)
    assert "may use 0.3 GB" in str(outcome["big"].error)
    assert outcome["dies"].value == "lives"


def _results(folder: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["cells"]
    return [{name: value for name, value in cell.items() if name not in ("seconds", "cost")} for cell in cells]


def _equal(one: Path, other: Path) -> None:
    first, second = _results(one), _results(other)
    assert first == second
    for cell in first:
        left, right = (load_file(folder / "cells" / f"{cell['id']}.safetensors") for folder in (one, other))
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_audit(Plan.of(PLAN), tmp_path_factory.mktemp("alone") / "run")
    torch.set_num_threads(threads)
    return next(tmp_path_factory.getbasetemp().glob("alone*/run"))


def kill_worker(cluster: Any) -> None:
    """Kill a process of this cluster that computes a task, as ``kill -9`` does."""
    nodes = [cluster.head_node, *cluster.worker_nodes]
    raylets = {each.process.pid for node in nodes for each in node.all_processes.get("raylet", ())}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_text()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if line.startswith("ray::_work") and parent in raylets:
            os.kill(int(place.name), signal.SIGKILL)
            return


def _after_cells(folder: Path, count: int, do: Callable[[], None]) -> threading.Thread:
    """Do something once so many cells are stored."""

    def watch() -> None:
        for _ in range(6000):
            if len(list(folder.glob("cells/*.json"))) >= count:
                do()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.soak  # new processes take their time
def test_an_audit_loses_a_worker_and_a_node_and_nothing_else(
    cluster: Any, engine: Ray, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    faults = [
        _after_cells(folder, 3, lambda: kill_worker(cluster)),
        _after_cells(folder, 8, lambda: cluster.remove_node(node, allow_graceful=False)),
    ]
    outcome = run_audit(Plan.of(PLAN), folder, engine=engine)
    for fault in faults:
        fault.join()
    assert not outcome.failed
    assert outcome.computed == len(outcome.cells) + 1
    _equal(alone, folder)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nowhere.invalid:6379", "127.0.0.1:999999"])
def test_a_cluster_that_is_not_there_is_refused_in_a_sentence(address: str) -> None:
    with pytest.raises(EngineError, match=f"No Ray cluster can be reached at '{re.escape(address)}'"):
        open_engine(EngineOptions(engine=f"ray:{address}"))


def test_tasks_that_need_more_than_any_node_has_are_refused(cluster: Any) -> None:
    with pytest.raises(EngineError, match="give less by --task-cores"):
        open_engine(EngineOptions(engine=f"ray:{cluster.address}", task_cores=64))
    assert not ray.is_initialized()


def test_a_gpu_that_no_node_has_is_refused(cluster: Any) -> None:
    with pytest.raises(EngineError, match="has no GPU"):
        open_engine(EngineOptions(engine=f"ray:{cluster.address}"), gpu=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tasks_share_a_gpu(cluster: Any) -> None:
    node = cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=100 * 2**20)
    try:
        with open_engine(EngineOptions(engine=f"ray:{cluster.address}", task_gpus=0.5), gpu=True) as engine:
            assert engine.slots == 2
            (done,) = engine.run([Task("sum", total, (torch.ones(3, device="cuda"),))])
            assert done.value == ("cuda:0", 3.0)
    finally:
        cluster.remove_node(node)


def test_nodes_of_another_version_are_refused(engine: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine._versions, "Salus", "0.0.1")
    with pytest.raises(EngineError, match=r"has Salus .*, this machine 0\.0\.1: install the same"):
        list(engine.run([Task("one", add, (1, 2))]))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("salus.engines.ray.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'salus\[ray\]'"):
        open_engine(EngineOptions(engine="ray"))
