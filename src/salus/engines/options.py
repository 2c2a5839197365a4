"""Where work is to be done, as options of commands."""

from __future__ import annotations

import math
import os
import re
from typing import Annotated

from pydantic import Field

from salus.declared import DeclaredModel
from salus.engines.base import Engine
from salus.engines.here import Here
from salus.errors import OptionError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class EngineOptions(DeclaredModel):
    """Where work is done, and what each task of it may take; none of it changes a result.

    Attributes:
        engine: ``local``, or ``ray`` for a cluster: ``ray`` alone finds the one that this machine belongs to, or makes
            one of it; ``ray:HOST:PORT`` is the address of its head.
        jobs: tasks side by side; by default one, in this process, on this machine, and as many as there is room for in
            a cluster.
        task_cores: cores, and threads of torch, of each task; by default this machine's, dealt to the jobs, and one in
            a cluster.
        task_gpus: the share of a GPU of each task; by default a whole one where the device is a GPU.
        task_memory: bytes that a task may use (``4GB``), beyond which it fails alone; by default the machine's, dealt
            to the tasks side by side.
    """

    engine: Annotated[str, Field(description="where to compute: local, ray, or ray:HOST:PORT for a cluster's head")] = (
        "local"
    )
    jobs: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="tasks side by side, each in a process; 1 on this machine, all there is room for in Ray"),
    ] = None
    task_cores: Annotated[Annotated[int, Field(ge=1)] | None, Field(description="cores, and threads, of each task")] = (
        None
    )
    task_gpus: Annotated[
        Annotated[float, Field(gt=0)] | None, Field(description="share of a GPU of each task; 1 where one is used")
    ] = None
    task_memory: Annotated[
        str | None, Field(description="memory that a task may use, such as 4GB; one that uses more fails alone")
    ] = None

    @property
    def memory(self) -> int | None:
        """Bytes that a task may use, where somebody says.

        Raises:
            OptionError: that is no amount of memory.
        """
        if self.task_memory is None:
            return None
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", self.task_memory.lower())
        amount = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if amount < 1 or not math.isfinite(amount):
            raise OptionError(f"Option task_memory is {self.task_memory!r}: write an amount such as 4GB or 500MB.")
        return int(amount)

    @property
    def ray_address(self) -> str | None:
        """Where the head of the cluster is; ``auto`` where nobody says; None where there is none.

        Raises:
            OptionError: the engine is none of Salus's.
        """
        if self.engine == "local":
            return None
        name, _, address = self.engine.partition(":")
        if name != "ray" or (":" in self.engine and not address):
            raise OptionError(
                f"The engine {self.engine!r} is unknown: write local, ray, or ray:HOST:PORT for the head of a cluster."
            )
        return address or "auto"


def open_engine(options: EngineOptions | None = None, *, gpu: bool = False) -> Engine:
    """Start an engine; use it as a context manager.

    Args:
        options: which.
        gpu: whether the tasks compute on a GPU.

    Raises:
        OptionError: the options make no sense together.
        EngineError: the engine's package is missing (the extra ``ray``), or its cluster cannot be reached.
    """
    options = options or EngineOptions()
    memory, address = options.memory, options.ray_address
    if address is not None:
        from salus.engines.ray import Ray

        gpus = options.task_gpus if options.task_gpus is not None else float(gpu)
        return Ray(address, jobs=options.jobs, cores=options.task_cores or 1, gpus=gpus, memory=memory)
    if options == EngineOptions():
        return Here()
    from salus.engines.processes import Processes

    jobs = options.jobs or 1
    cores = options.task_cores or max(1, len(os.sched_getaffinity(0)) // jobs)
    return Processes(jobs, cores=cores, gpus=options.task_gpus or 0.0, memory=memory)
