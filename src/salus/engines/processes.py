"""Tasks in processes of their own on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle

from salus.engines.base import Done, Engine, Needs, Shared, Task
from salus.engines.working import run_apart, unsent
from salus.errors import EngineError

T = TypeVar("T")

#: Processes that a task may take with it before it is given up.
MOST_LOST = 3


@dataclass(frozen=True)
class _Running:
    slot: int
    task: Task
    begun: float


class Processes(Engine):
    """As many processes as jobs; one that dies takes only its own task along, which runs again in a new one.

    Each process is one executor's only one, as an executor loses all that it runs when one of its processes dies.

    Args:
        jobs: how many.
        cores: threads of each, unless a task needs another number.
        gpus: the share of a GPU's memory that each task may use; 0: no limit.
        memory: bytes that each task may use; None: its share of the memory that is free now.
    """

    name = "local"
    shares_disk = True

    def __init__(self, jobs: int, *, cores: int, gpus: float = 0.0, memory: int | None = None) -> None:
        threads = "thread" if cores == 1 else "threads"
        self.words = f"{jobs} process{'es' if jobs > 1 else ''} of {cores} {threads}"
        self._needs = Needs(cores, gpus, memory or _share_of_memory(jobs))
        self._folder = Path(tempfile.mkdtemp(prefix="salus-engine-"))
        self._executors = [self._executor() for _ in range(jobs)]
        self._free = list(range(jobs))
        self._waiting: deque[Task] = deque()
        self._running: dict[Future[dict[str, Any]], _Running] = {}
        self._lost: dict[int, int] = {}

    @property
    def slots(self) -> int:
        """The jobs."""
        return len(self._executors)

    @property
    def pending(self) -> int:
        """Tasks that wait or run."""
        return len(self._waiting) + len(self._running)

    def share(self, value: T) -> Shared[T]:
        """Write it to a file, which each process reads once."""
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "wb") as file:
            cloudpickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
        return Shared(name, Path(name))

    def submit(self, task: Task) -> None:
        """Give it to a process that is free, or let it wait for one."""
        self._waiting.append(task)
        self._begin()

    def wait(self) -> Done:
        """Wait for the next task that ends.

        Raises:
            EngineError: no process can be started.
        """
        while True:
            ended = next(iter(wait(self._running, return_when=FIRST_COMPLETED).done))
            running = self._running.pop(ended)
            done = self._outcome(ended, running)
            self._free.append(running.slot)
            self._begin()
            if done is not None:
                return done

    def close(self) -> None:
        """End the processes, in the middle of what they do."""
        self._waiting.clear()
        for executor in self._executors:
            for process in list((executor._processes or {}).values()):
                process.terminate()
            executor.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_process)

    def _begin(self) -> None:
        while self._free and self._waiting:
            slot, task = self._free.pop(), self._waiting.popleft()
            try:
                call = cloudpickle.dumps((task.function, task.arguments, task.needs or self._needs))
            except Exception as error:  # what a user's code cannot be turned into fails as it would where it runs
                future: Future[dict[str, Any]] = Future()
                future.set_result(unsent(error))
            else:
                future = self._send(slot, call)
            self._running[future] = _Running(slot, task, time.perf_counter())

    def _send(self, slot: int, call: bytes) -> Future[dict[str, Any]]:
        try:
            return self._executors[slot].submit(_work, call)
        except BrokenProcessPool:  # it died while it had nothing to do
            self._renew(slot)
            return self._executors[slot].submit(_work, call)

    def _outcome(self, ended: Future[dict[str, Any]], running: _Running) -> Done | None:
        """Put together what came of a task; None where its process died and it runs again."""
        task = running.task
        try:
            return Done(task, **ended.result())
        except BrokenProcessPool:
            self._renew(running.slot)
        lost = self._lost[id(task)] = self._lost.get(id(task), 0) + 1
        if lost < MOST_LOST:
            self._waiting.appendleft(task)
            return None
        sentence = (
            f"Its process ended {lost} times in the middle of it: it was killed, for its memory perhaps, or crashed in "
            "a library."
        )
        return Done(task, None, sentence, time.perf_counter() - running.begun)

    def _renew(self, slot: int) -> None:
        self._executors[slot].shutdown(wait=False)
        self._executors[slot] = self._executor()


#: What this process, made for tasks, has read of what is shared.
_read: dict[str, Any] = {}


def _begin_process() -> None:
    """Leave Ctrl-C to the owner, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = multiprocessing.parent_process()

    def follow() -> None:
        if owner is not None:
            connection.wait([owner.sentinel])
            os._exit(1)

    threading.Thread(target=follow, name="salus-owner", daemon=True).start()


def _work(call: bytes) -> dict[str, Any]:
    """Run a task in a process of its own."""
    function, arguments, needs = pickle.loads(call)  # noqa: S301  # from the process that started this one
    return run_apart(function, _values(arguments), needs)


def _values(arguments: Sequence[Any]) -> list[Any]:
    return [_value(each) if isinstance(each, Shared) else each for each in arguments]


def _value(shared: Shared[Any]) -> Any:
    if shared.key not in _read:
        try:
            _read[shared.key] = pickle.loads(shared.handle.read_bytes())  # noqa: S301  # in a folder of this user alone
        except OSError as error:
            raise EngineError(f"What the tasks share is gone ({error}): leave the temporary folder alone.") from error
    return _read[shared.key]


def _share_of_memory(jobs: int) -> int | None:
    """Deal the memory that is free now; None where the system does not tell as Linux does."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if free is None else int(free) * 1024 // jobs
