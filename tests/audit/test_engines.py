"""Audits over engines: the same cells, whatever computes them."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from salus.audit import Plan, run_audit
from salus.engines import Done, Shared, Task
from salus.engines.here import Here
from salus.engines.processes import Processes
from salus.errors import OptionError, StoreError

#: What may differ between two runs: how long they took.
TIMES = ("seconds", "cost")

PLAN = {
    "data": "breast-cancer",
    "false_alarm_rate": 0.05,
    "defence": ["i-defender:components=2", "bit-depth:bits=4+mahalanobis"],
    "attack": ["pgd:eps=0.05,steps=2", "square:queries=10,eps=0.05"],
    "threat_model": ["white-box", "transfer", "oblivious", "gray-box", "adaptive"],
    "training": {"epochs": 2},
    "samples": 24,
}


class Shuffled(Here):
    """This process, but for a folder out of sight, many slots, and tasks that end in any order, or fail.

    Args:
        seed: of the order.
        fails: says of a task whether its process dies this time.
    """

    shares_disk = False

    def __init__(self, seed: int = 0, fails: Callable[[Task], bool] = lambda task: False, slots: int = 3) -> None:
        super().__init__()
        self._random, self._fails, self._many = random.Random(seed), fails, slots
        self.ran: list[Task] = []

    @property
    def slots(self) -> int:
        return self._many

    def wait(self) -> Done:
        self._waiting.rotate(self._random.randrange(len(self._waiting)))
        task = self._waiting[0]
        self.ran.append(task)
        if self._fails(task):
            self._waiting.popleft()
            return Done(task, None, "Its process ended.", 0.0)
        return super().wait()


def _results(folder: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["cells"]
    return [{name: value for name, value in cell.items() if name not in TIMES} for cell in cells]


def _equal(one: Path, other: Path) -> None:
    first, second = _results(one), _results(other)
    assert first == second
    for cell in first:
        left, right = (load_file(folder / "cells" / f"{cell['id']}.safetensors") for folder in (one, other))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The plan's audit, in this process, by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone") / "run"
    run_audit(Plan.of(PLAN), folder)
    yield folder
    torch.set_num_threads(threads)


def test_two_processes_measure_what_one_does(alone: Path, tmp_path: Path) -> None:
    with Processes(2, cores=1) as engine:
        outcome = run_audit(Plan.of(PLAN), tmp_path / "run", engine=engine)
    assert not outcome.failed
    assert outcome.computed == len(outcome.cells) + 1
    _equal(alone, tmp_path / "run")
    again = run_audit(Plan.of(PLAN), tmp_path / "run")
    assert not again.computed


def test_the_order_in_which_tasks_end_does_not_matter(alone: Path, tmp_path: Path) -> None:
    engine = Shuffled(1)
    run_audit(Plan.of(PLAN), tmp_path / "run", engine=engine)
    _equal(alone, tmp_path / "run")
    assert len({task.key for task in engine.ran}) == len(engine.ran)  # nothing was computed twice
    assert any(task.key.startswith("attack") for task in engine.ran)  # and what cells share was computed apart


SMALL = {
    **PLAN,
    "defence": "bit-depth:bits=4",
    "attack": ["fgsm:eps=0.05", "uap:eps=0.05,epochs=1"],
    "threat_model": ["white-box", "oblivious", "adaptive"],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "run"
    run_audit(Plan.of(SMALL), folder)
    return folder


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 6), chance=st.floats(0, 0.6))
def test_whatever_fails_every_cell_has_a_record_and_what_is_there_goes_on(
    small: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, slots: int, chance: float
) -> None:
    folder = tmp_path_factory.mktemp("any") / "run"
    draws = random.Random(seed)
    engine = Shuffled(seed, lambda task: draws.random() < chance, slots)
    outcome = run_audit(Plan.of(SMALL), folder, engine=engine)
    assert len(outcome.cells) == len(_results(small))
    assert outcome.failed == sum(cell["error"] is not None for cell in outcome.cells)
    assert all(cell["error"] in (None, "Its process ended.") for cell in outcome.cells)
    second = run_audit(Plan.of(SMALL), folder, engine=Shuffled(seed, slots=slots))
    failed = second.computed - outcome.failed
    assert failed in (0, 1)  # the check for masked gradients counts among those computed
    _equal(small, folder)


def test_cells_that_go_together_fail_apart(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("salus.audit.spread._WORTHWHILE", 10**6)  # so that all go together
    bad = _results(small)[-1]["id"]
    engine = Shuffled(0, lambda task: "cell" in task.key and bad in [key[:16] for key in task.arguments[1]], slots=1)
    outcome = run_audit(Plan.of(SMALL), tmp_path / "run", engine=engine)
    assert [cell["id"] for cell in outcome.cells if cell["error"]] == [bad]
    assert max(len(task.arguments[1]) for task in engine.ran if task.key.startswith("cell")) > 1


def test_the_longest_cells_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.of({**SMALL, "attack": [f"pgd:eps=0.05,steps={steps}" for steps in (1, 40, 5)], "defence": "none"})
    engine = Shuffled(slots=1)
    monkeypatch.setattr(engine._random, "randrange", lambda count: 0)  # they end in the order in which they began
    outcome = run_audit(plan, tmp_path / "run", engine=engine)
    steps = {cell["id"]: (cell["attack_options"] or {}).get("steps", 0) for cell in outcome.cells}
    began = [steps.get(key[:16], 20) for task in engine.ran for key in task.arguments[1]]  # 20: the check's own steps
    assert [each for each in began if each] == [40, 20, 5, 1]


def test_large_cells_go_in_pieces(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    for place in ("salus.audit.measure", "salus.audit.attacker", "salus.audit.bare"):
        monkeypatch.setattr(f"{place}.rows_held", lambda x, batch_size: 8)
    run_audit(Plan.of(SMALL), whole)
    engine = Shuffled(3)
    run_audit(Plan.of(SMALL), tmp_path / "pieces", engine=engine)
    _equal(whole, tmp_path / "pieces")
    pieces = [task for task in engine.ran if "part" in task.key]
    assert len(pieces) == 3 * sum(task.key.endswith("counted") for task in engine.ran) > 0


def test_a_cell_of_which_a_piece_fails_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("salus.audit.measure", "salus.audit.attacker", "salus.audit.bare"):
        monkeypatch.setattr(f"{place}.rows_held", lambda x, batch_size: 8)
    engine = Shuffled(0, lambda task: task.key.endswith(("part 1", "part 3")))
    outcome = run_audit(Plan.of(SMALL), tmp_path / "run", engine=engine)
    attacked = [cell for cell in outcome.cells if cell["attack"] == "fgsm"]  # the other one may not be divided
    assert [cell["error"] for cell in attacked] == ["Its process ended."] * len(attacked)
    again = run_audit(Plan.of(SMALL), tmp_path / "run", engine=Shuffled(0))
    assert not again.failed


class Full(Shuffled):
    """An engine whose tasks find no room on the disk."""

    def share(self, value: Any) -> Shared[Any]:
        if hasattr(value, "work"):
            work = value.work(None)
            value.work = lambda folder: work

            def full(*args: object) -> None:
                raise StoreError("The disk is full: free some space.")

            work.store.cell_rows = full
        return super().share(value)


def test_a_full_disk_ends_the_audit_as_it_does_in_one_process(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="The disk is full"):
        run_audit(Plan.of(SMALL), tmp_path / "run", engine=Full())


def test_an_endpoint_is_asked_from_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Remote:
        class subject:  # noqa: N801
            class remote:  # noqa: N801
                name = "http://localhost:8000/v1/guards/ecg"

    monkeypatch.setattr("salus.audit.run.Setup.of", lambda plan: Remote)
    with pytest.raises(OptionError, match="leave --engine and --jobs out"):
        run_audit(Plan.of(PLAN), tmp_path / "run", engine=Here())
    assert not (tmp_path / "run").exists()


def test_nothing_of_an_engine_is_left_behind() -> None:
    def folders() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("salus-engine-*"))

    before = folders()
    with Processes(1, cores=1) as engine:
        engine.share([1])
        assert folders() - before
    assert not folders() - before
