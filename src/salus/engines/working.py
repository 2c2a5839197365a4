"""What happens where a task runs."""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from salus.batches import share_gpu
from salus.engines.base import Needs
from salus.errors import SalusError
from salus.progress import captured

#: Seconds between looks at how much memory a task uses.
_LOOK = 0.05

#: Where Linux tells of this process's memory, in pages; elsewhere no limit is kept.
_STATM = Path("/proc/self/statm")


class MemoryLimitError(SalusError):
    """A task used more memory than it may."""


@functools.lru_cache(maxsize=1)
def prepare(cores: int, gpus: float) -> None:
    """Give this process its threads, torch's own and those of numpy's libraries, and its share of a GPU."""
    torch.set_num_threads(cores)
    threadpool_limits(cores)
    if 0 < gpus < 1:
        share_gpu(gpus)


def run(function: Callable[..., Any], arguments: Sequence[Any]) -> dict[str, Any]:
    """Call a task's function.

    Returns:
        What ``Done`` holds of it beside the task.
    """
    started, value, error = time.perf_counter(), None, None
    try:
        value = function(*arguments)
    except SalusError as mistake:
        error = str(mistake)
    except Exception as mistake:  # whatever a user's code raises fails its task, and no other
        error = f"{type(mistake).__name__}: {mistake}"
    return {"value": value, "error": error, "seconds": time.perf_counter() - started}


def run_apart(function: Callable[..., Any], arguments: Sequence[Any], needs: Needs) -> dict[str, Any]:
    """Call a task's function in a process that was made for tasks, within its limits; see :func:`run`."""
    prepare(needs.cores, needs.gpus)

    def within_limits() -> Any:
        with limited(needs.memory):
            return function(*arguments)

    with captured() as said:
        outcome = run(within_limits, ())
    return {**outcome, "said": tuple(said)}


def unsent(error: Exception) -> dict[str, Any]:
    """Say of a task that it cannot be sent to where it was to run; see :func:`run`."""
    sentence = f"It cannot be sent to another process ({type(error).__name__}: {error}): leave --engine and --jobs out."
    return {"value": None, "error": sentence, "seconds": 0.0}


@contextmanager
def limited(most: int | None) -> Iterator[None]:
    """Let the block use so many bytes of memory beside what the process has; beyond, it is ended by an error.

    Raises:
        MemoryLimitError: it used more.
    """
    if most is None or not _STATM.exists():
        yield
        return
    ended, before = threading.Event(), _resident()
    thread = threading.get_ident()
    passed: list[int] = []

    def watch() -> None:
        while not ended.wait(_LOOK):
            used = _resident() - before
            if used > most:
                passed.append(used)
                # Raised in the task's thread as soon as it is back from the library that fills the memory.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_Outgrown))
                return

    watcher = threading.Thread(target=watch, name="salus-memory", daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            _let_in(passed)
    except _Outgrown:
        raise MemoryLimitError(
            f"It used {passed[0] / 1e9:.1f} GB of memory and may use {most / 1e9:.1f} GB: give it more by "
            "--task-memory, with fewer tasks side by side."
        ) from None


def _let_in(passed: list[int]) -> None:
    """Let an error that was raised for this thread come, before the block is left."""
    for _ in range(1000 if passed else 0):
        time.sleep(0)


class _Outgrown(BaseException):
    """Ends a task that uses too much memory; no handler of ordinary errors on its way may take it for one."""


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * _page_size()


@functools.cache
def _page_size() -> int:
    import resource

    return resource.getpagesize()
