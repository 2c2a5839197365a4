"""Steps that stand alone: the same side by side as one after another, wherever they are done."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import cloudpickle
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from salus.cli import main, reproduce
from salus.engines import Done, Engine, EngineOptions, Shared, open_engine
from salus.engines.here import Here
from salus.errors import EngineError
from salus.registry import Registry
from salus.training import TrainingOptions, fit_classifier
from salus_studies import STUDIES
from salus_studies.frame.folder import Folder
from salus_studies.frame.options import Options
from salus_studies.frame.page import Page
from salus_studies.frame.results import Results
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.frame.study import Study

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # its functions are called where nobody can import it


class Elsewhere(Here):
    """Several tasks on other machines at a time, which end in another order than they began, and see no disk of ours.

    Args:
        slots: how many.
    """

    shares_disk = False

    def __init__(self, slots: int = 3) -> None:
        super().__init__()
        self._slots = slots
        self.begun: list[str] = []
        self.most = 0

    @property
    def slots(self) -> int:
        return self._slots

    def share(self, value: Any) -> Shared[Any]:
        return Shared("", pickle.loads(pickle.dumps(value)))

    def wait(self) -> Done:
        self.most = max(self.most, self.pending)
        self._waiting.rotate(1)
        task = self._waiting.popleft()
        self._waiting.appendleft(replace(task, arguments=pickle.loads(pickle.dumps(task.arguments))))
        self.begun.append(task.key)
        done = super().wait()
        return replace(done, task=task, value=pickle.loads(pickle.dumps(done.value)))


def square(number: int, scale: int = 1) -> dict[str, Any]:
    if number < 0:
        raise ValueError(f"{number} is below zero")
    return {"square": scale * number * number}


def write(folder: Path, number: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "number.txt").write_text(str(number))
    return {"written": number}


def planned(numbers: Sequence[int], **changes: Any) -> list[Step]:
    return [
        Step(name=f"square-{number}", kind="square", key=[number], function=square, arguments=(number,), **changes)
        for number in numbers
    ]


def without_times(contents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in content.items() if name != "seconds"} for content in contents]


@given(numbers=st.lists(st.integers(0, 30), unique=True, max_size=6), slots=st.integers(1, 4), half=st.booleans())
def test_steps_come_to_the_same_side_by_side_in_whichever_order_they_end(
    numbers: list[int], slots: int, half: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = Steps(tmp_path_factory.mktemp("alone"), 1)
    engine = Elsewhere(slots)
    together = Steps(tmp_path_factory.mktemp("together"), 1, engine=engine)
    before = numbers[: len(numbers) // 2] if half else []
    together.do_all(planned(before))
    one, other = alone.do_all(planned(numbers)), together.do_all(planned(numbers))
    assert without_times(one) == without_times(other)
    assert [content["square"] for content in other] == [number * number for number in numbers]
    assert (together.computed, together.stored) == (len(numbers), 0), "what was done just now was not stored before"
    assert sorted(engine.begun) == sorted(f"square-{number}" for number in numbers) and engine.most <= slots
    for name, content in alone.contents().items():
        assert without_times([content]) == without_times([together.contents()[name]])
    later = Steps(together.folder, 1, engine=engine)
    assert without_times(later.do_all(planned(numbers))) == without_times(one)
    assert (later.computed, later.stored) == (0, len(numbers))


def test_what_is_shared_is_found_by_every_step_and_what_is_written_comes_back(tmp_path: Path) -> None:
    for place, engine in (("alone", None), ("together", Elsewhere())):
        steps = Steps(tmp_path / place, 1, engine=engine)
        scale = steps.share(10)
        todo = [Step(name=f"s{n}", kind="s", key=[n], function=square, arguments=(n, scale)) for n in range(3)]
        assert [content["square"] for content in steps.do_all(todo)] == [0, 10, 40]
        fills = tmp_path / place / "numbers"
        todo = [Step(name="w", kind="w", key=[], function=write, arguments=(7,), fills=fills)]
        assert steps.do_all(todo)[0]["written"] == 7 and (fills / "number.txt").read_text() == "7"


@pytest.mark.parametrize("engine", [None, Elsewhere()])
def test_nothing_is_begun_that_is_not_likely_to_end_in_time(tmp_path: Path, engine: Engine | None) -> None:
    steps = Steps(tmp_path, 1, minutes=1e-9, engine=engine)
    content = steps.do_all(planned([1, 2], blank={"of": "squares"}))
    assert [each["status"] for each in content] == ["not run", "not run"] and steps.not_run == 2
    assert content[0]["of"] == "squares" and "no time left" in content[0]["reason"]
    gathered = Steps(tmp_path, 1, minutes=0, engine=engine).do_all(planned([1]))
    assert (gathered[0]["status"], gathered[0]["reason"]) == ("not run", "stopped before; the command goes on")
    again = Steps(tmp_path, 1, minutes=60, engine=engine)
    again.lasted["square"] = 3601.0
    assert [each["status"] for each in again.do_all(planned([1]))] == ["not run"], "one of its kind took longer"
    more = Steps(tmp_path, 1, minutes=60, engine=engine)
    assert [each["status"] for each in more.do_all(planned([1, 2]))] == ["done", "done"]


def test_a_step_that_fails_fails_alone_and_is_named(tmp_path: Path) -> None:
    steps = Steps(tmp_path, 1, engine=Elsewhere())
    with pytest.raises(EngineError, match=r"Of 3 steps 1 failed.*square--1: ValueError: -1 is below zero\)"):
        steps.do_all(planned([1, -1, 2]))
    assert sorted(steps.contents()) == ["square-1", "square-2"]
    with pytest.raises(ValueError, match="below zero"):
        Steps(tmp_path, 1).do_all(planned([-1]))


@dataclass(frozen=True, kw_only=True)
class LearningOptions(Options):
    """How many are trained."""

    networks: Annotated[int, Field(description="how many")] = 4


def learn(x: torch.Tensor, y: torch.Tensor, seed: int) -> dict[str, Any]:
    """Train a network, and give its weights to the last bit."""
    from salus.data import Dataset, Provenance

    data = Dataset(x, y, ("a", "b"), Provenance("clouds", "made here"))
    classifier, _ = fit_classifier("mlp", data, data, TrainingOptions(epochs=1, seed=seed))
    logits = classifier.predict(x[:3]).double().flatten()
    return {"fingerprint": classifier.fingerprint(), "logits": [float(value).hex() for value in logits]}


def run_learning(options: LearningOptions, folder: Folder) -> Results:
    steps = folder.claim({}, {})
    generator = torch.Generator().manual_seed(0)
    x = steps.share(torch.rand(64, 5, generator=generator))
    y = steps.share(torch.arange(64) % 2)
    todo = [
        Step(name=f"network-{seed}", kind="network", key=[seed], function=learn, arguments=(x, y, seed))
        for seed in range(options.networks)
    ]
    rows = [{name: row[name] for name in ("fingerprint", "logits")} for row in steps.do_all(todo, "learning")]
    return Results({"rows": rows}, {"count": np.array([float(len(rows))])})


LEARNING = Study(
    name="learning", title="Learning", summary="It learns.", options=LearningOptions, version=1, run=run_learning,
    compose=lambda results, folder: Page("# Learning\n", {}), page="docs/learning.md",
)  # fmt: skip


def test_a_study_writes_the_same_bytes_whoever_does_its_steps(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = LEARNING.reproduce(tmp_path / "alone")
        together = LEARNING.reproduce(tmp_path / "together", engine=Elsewhere())
    finally:
        torch.set_num_threads(before)
    assert (alone.computed, alone.stored) == (together.computed, together.stored) == (4, 0)
    for file in ("results.json", "results.safetensors"):
        assert (tmp_path / "alone" / file).read_bytes() == (tmp_path / "together" / file).read_bytes()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_study_by_engines_writes_the_same_bytes(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    torch.set_num_threads(1)
    options = EngineOptions(jobs=2, task_cores=1)
    if name == "ray":
        options = EngineOptions(engine=f"ray:{request.getfixturevalue('ray_nodes')}", jobs=2)
        import_module("ray.cloudpickle").register_pickle_by_value(sys.modules[__name__])
    LEARNING.reproduce(tmp_path / "alone")
    with open_engine(options) as engine:
        LEARNING.reproduce(tmp_path / "together", engine=engine)
    assert (tmp_path / "alone/results.json").read_bytes() == (tmp_path / "together/results.json").read_bytes()


@pytest.mark.soak
def test_the_attacks_study_finds_the_same_distances_in_processes(tmp_path: Path) -> None:
    attacks_study: Any = reproduce.find_study("attacks")
    wanted: dict[str, Any] = {"only": ("table",), "part": ("attacks",), "norm": ("l2",), "budget": ("200",)}
    wanted |= {"library": ("salus",), "seeds": 1, "samples": 16}
    alone = attacks_study.reproduce(tmp_path / "alone", **wanted)
    with open_engine(EngineOptions(jobs=2, task_cores=1)) as engine:
        together = attacks_study.reproduce(tmp_path / "together", engine=engine, **wanted)
    assert alone.computed == together.computed > 5
    one, other = (Steps(tmp_path / name, attacks_study.version).contents() for name in ("alone", "together"))
    assert one.keys() == other.keys()
    for name, content in one.items():
        timed = {"seconds", "cpu", "bare"}
        kept, others = (
            {key: value for key, value in each.items() if key not in timed} for each in (content, other[name])
        )
        assert kept == others, name


def test_the_command_line_hands_a_study_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDIES, "learning", f"{__name__}:LEARNING")
    monkeypatch.setattr(reproduce, "STUDIES", Registry("study", "salus.studies", reproduce._own, reproduce._suits))
    engines: list[Elsewhere] = []

    def opened(options: EngineOptions, *, gpu: bool = False) -> Engine:
        assert (options.jobs, gpu) == (2, False)
        engines.append(Elsewhere(2))
        return engines[-1]

    monkeypatch.setattr("salus.engines.open_engine", opened)
    words = ["reproduce", "learning", "--out", str(tmp_path / "run"), "--networks", "2"]
    done = CliRunner().invoke(main, [*words, "--jobs", "2"])
    assert done.exit_code == 0, done.output
    assert "2 steps done" in done.output and sorted(engines[0].begun) == ["network-0", "network-1"]
    again = CliRunner().invoke(main, words)
    assert "0 steps done, 2 stored" in again.output and len(engines) == 1
    told = CliRunner().invoke(main, ["reproduce", "learning", "--help"]).output
    assert "--engine" in told and "--jobs" in told and "How many." in told


def test_only_the_parts_that_were_asked_for_are_begun_and_all_that_is_stored_is_read(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        return {"n": 1}

    first = Steps(tmp_path, 1)
    first.part = "trainings"
    assert first.do("one", "kind", 1, work)["status"] == "done"
    again = Steps(tmp_path, 1)
    again.part, again.parts = "trainings", frozenset({"tables"})
    assert again.do("one", "kind", 1, work)["n"] == 1 and again.stored == 1
    left = again.do("two", "kind", 2, work)
    assert (left["status"], left["reason"]) == ("not run", "the part trainings was not asked for")
    assert again.do("one", "kind", "another key", work)["status"] == "not run"
    assert again.do("one", "kind", 1, work)["status"] == "done", "nothing that was stored is lost"
    assert again.worth_preparing("trainings", "one") and not again.worth_preparing("trainings", "two", "three")
    again.part = "tables"
    assert again.do("three", "kind", 3, work)["status"] == "done" and again.worth_preparing("tables")
