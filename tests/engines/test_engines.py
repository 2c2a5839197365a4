from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch

from salus.engines import Engine, EngineOptions, Needs, Task, open_engine
from salus.engines.folders import filled, offered, take_in
from salus.engines.here import Here
from salus.engines.processes import MOST_LOST, Processes
from salus.errors import OptionError, StoreError

# What follows is called by tasks, in processes that could not import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def add(one: Any, other: Any) -> Any:
    return one + other


def where(one: Any) -> tuple[int, int, str]:
    return os.getpid(), torch.get_num_threads(), str(id(one))


def refuse(word: str) -> None:
    raise OptionError(f"{word} will not do.")


def divide(one: float, other: float) -> float:
    return one / other


def say(line: str) -> None:
    from salus.progress import console, progress  # not to be sent along

    console.print(line)
    with progress("Work", 1) as advance:
        advance()


def die(place: Path, times: int) -> str:
    """End the process, so many times."""
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


def fill(folder: Path | None, words: str) -> Any:
    def write(place: Path) -> int:
        (place / "inner").mkdir()
        (place / "inner" / "words.txt").write_text(words)
        return len(words)

    return filled(folder, write)


@pytest.fixture(scope="module", params=["here", "processes"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    options = EngineOptions() if request.param == "here" else EngineOptions(jobs=2, task_memory="600MB")
    with open_engine(options) as engine:
        yield engine


@pytest.fixture(scope="module")
def processes() -> Iterator[Engine]:
    with Processes(2, cores=1, memory=600 * 10**6) as engine:
        yield engine


def test_every_task_comes_back_once_with_its_own_value(engine: Engine) -> None:
    shared = engine.share([1, 2])
    tasks = [Task(str(number), add, (shared, [number])) for number in range(50)]
    done = list(engine.run(tasks))
    assert {each.task: each.value for each in done} == {task: [1, 2, number] for number, task in enumerate(tasks)}
    assert len(done) == 50
    assert all(each.error is None and each.seconds >= 0 for each in done)
    assert not engine.pending


def test_tasks_are_drawn_as_there_is_room(engine: Engine) -> None:
    drawn = 0

    def tasks() -> Iterator[Task]:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield Task(str(number), add, (number, 1))

    for place, _ in enumerate(engine.run(tasks()), 1):
        assert drawn <= place + 2 * engine.slots
    assert drawn == 100


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (Task("refused", refuse, ("this",)), "this will not do."),
        (Task("broken", divide, (1.0, 0.0)), "ZeroDivisionError: float division by zero"),
    ],
)
def test_a_task_fails_alone_with_its_sentence(engine: Engine, task: Task, sentence: str) -> None:
    done = {each.task.key: each for each in engine.run([task, Task("other", add, (1, 2))])}
    assert done[task.key].error == sentence
    assert done["other"].value == 3


def test_a_task_that_fills_a_folder_fills_the_owners(engine: Engine, tmp_path: Path) -> None:
    (done,) = engine.run([Task("fill", fill, (offered(engine, tmp_path), "abc"))])
    value, files = done.value
    take_in(files, tmp_path)
    assert value == 3
    assert (tmp_path / "inner" / "words.txt").read_text() == "abc"


def test_files_that_travelled_land_in_the_folder(tmp_path: Path) -> None:
    _, files = fill(None, "abc")
    assert dict(files) == {"inner/words.txt": b"abc"}
    take_in(files, tmp_path)
    assert (tmp_path / "inner" / "words.txt").read_text() == "abc"


@pytest.mark.parametrize("name", ["../out", "/etc/out", "inner/../../out", ""])
def test_files_that_would_land_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="outside"):
        take_in({name: b"x"}, tmp_path / "folder")
    assert not (tmp_path / "out").exists()


def test_tasks_have_processes_of_their_own_and_their_threads(processes: Engine) -> None:
    done = list(processes.run([Task("where", where, (0,)) for _ in range(20)]))
    found = {each.value[0] for each in done}
    assert os.getpid() not in found
    assert len(found) <= 2
    assert {each.value[1] for each in done} == {1}


def test_what_is_shared_is_read_once_in_each_process(processes: Engine) -> None:
    shared = processes.share({"a": 1})
    done = list(processes.run([Task("where", where, (shared,)) for _ in range(20)]))
    assert len({(each.value[0], each.value[2]) for each in done}) == len({each.value[0] for each in done})


def test_a_lost_process_costs_nothing_but_time(processes: Engine, tmp_path: Path) -> None:
    tasks = [Task("dies", die, (tmp_path, MOST_LOST - 1)), *(Task(str(i), add, (i, 0)) for i in range(10))]
    done = {each.task.key: each.value for each in processes.run(tasks)}
    assert done == {"dies": "lives", **{str(i): i for i in range(10)}}


def test_a_task_that_kills_every_process_fails_alone(processes: Engine, tmp_path: Path) -> None:
    tasks = [Task("dies", die, (tmp_path, 99)), *(Task(str(i), add, (i, 0)) for i in range(10))]
    done = {each.task.key: each for each in processes.run(tasks)}
    assert "killed" in str(done.pop("dies").error)
    assert len(list(tmp_path.iterdir())) == MOST_LOST
    assert {each.value for each in done.values()} == set(range(10))


def test_a_task_that_cannot_be_sent_fails_alone(processes: Engine) -> None:
    tasks = [Task("locked", add, (threading.Lock(), 1)), Task("other", add, (1, 2))]
    done = {each.task.key: each for each in processes.run(tasks)}
    assert "cannot be sent to another process" in str(done["locked"].error)
    assert done["other"].value == 3


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells how much memory a process has")
def test_a_task_that_outgrows_its_memory_fails_alone(processes: Engine) -> None:
    tasks = [Task("big", fill_memory, (3.0,)), Task("small", fill_memory, (0.2,))]
    done = {each.task.key: each for each in processes.run(tasks)}
    assert "may use 0.6 GB" in str(done["big"].error)
    assert "--task-memory" in str(done["big"].error)
    assert done["small"].value == 4


def test_what_a_task_says_comes_back_and_its_progress_is_not_shown(
    processes: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    (done,) = processes.run([Task("say", say, ("A line.",))])
    assert done.said == ("A line.",)
    assert capfd.readouterr().err == ""


def test_a_task_may_need_other_things_than_the_rest(processes: Engine) -> None:
    (done,) = processes.run([Task("small", fill_memory, (0.5,), Needs(1, memory=10**8))])
    assert "may use 0.1 GB" in str(done.error)


def test_without_options_work_stays_in_this_process() -> None:
    assert isinstance(open_engine(), Here)
    assert isinstance(open_engine(EngineOptions(jobs=1)), Processes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "spark"}, "write local, ray, or ray:HOST:PORT"),
        ({"engine": "ray:"}, "write local, ray, or ray:HOST:PORT"),
        ({"engine": "local", "task_memory": "much"}, "write an amount such as 4GB"),
        ({"task_memory": "0GB"}, "write an amount such as 4GB"),
        ({"jobs": 0}, "jobs"),
        ({"task_gpus": -1.0}, "task_gpus"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words), open_engine(EngineOptions(**options)):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("words", "amount"), [("4GB", 4 * 10**9), ("500 MB", 500 * 10**6), ("1.5g", 1_500_000_000), ("2 GiB", 2 * 10**9)]
)
def test_amounts_of_memory_are_read(words: str, amount: int) -> None:
    assert EngineOptions(task_memory=words).memory == amount
