"""Tasks on a Ray cluster; nothing but this module and the guards on Ray Serve imports Ray."""

from __future__ import annotations

import logging
import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

import salus
from salus.engines.base import Done, Engine, Needs, Shared, Task
from salus.engines.working import run_apart, unsent
from salus.errors import EngineError

T = TypeVar("T")

#: Times that a task runs again after its process or machine is gone.
_RETRIES = 4

#: Seconds in which the head of a cluster has to take a connection.
_KNOCK = 5.0

#: Seconds for which it is believed that the cluster is there, and how large it is.
_BELIEVED = 5.0

#: Tries before its head is taken for dead.
_KNOCKS = 3

#: Seconds to part from a cluster that is gone.
_LEAVE = 3.0

#: Bytes of main memory for objects of a cluster that is made of this machine alone.
_STORE = 512 * 2**20


def import_ray() -> ModuleType:
    """Import Ray.

    Raises:
        EngineError: it is not installed.
    """
    if find_spec("ray") is None:
        raise EngineError("The engine ray needs Ray, which is not installed: pip install 'salus[ray]'.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers what runs
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def connect(address: str) -> bool:
    """Join a cluster, unless this process belongs to one.

    Args:
        address: ``host:port`` of its head; ``auto`` for the one that this machine belongs to, or one made of this
            machine alone where there is none.

    Returns:
        Whether this call joined or made it, so that the caller leaves it.

    Raises:
        EngineError: Ray is missing, or there is no such cluster, or it has another version.
    """
    ray = import_ray()
    if ray.is_initialized():
        return False
    if address != "auto":
        _knock(address)
    settings: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": True,
        # Tasks import what this process imports, code of the user's own too, where they see this machine's files.
        "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(_own_paths())}},
    }
    try:
        if address != "auto":
            ray.init(address=address, **settings)
        else:
            try:
                ray.init(address="auto", **settings)
            except ConnectionError:
                os.environ.setdefault("RAY_worker_niceness", "0")  # nothing else is to go first here
                ray.init(include_dashboard=False, object_store_memory=_STORE, **settings)
    except Exception as error:  # Ray raises its own, those of gRPC, and plain ones
        reason = str(error).strip().splitlines()
        raise EngineError(
            f"No Ray cluster can be used at {address} ({reason[0] if reason else type(error).__name__}): check the "
            "address, that `ray status` there shows it running, and that both have the same versions of Python and Ray."
        ) from error
    return True


def _knock(address: str) -> None:
    """See whether anybody listens; Ray itself waits for minutes.

    Raises:
        EngineError: nobody does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
    except (OSError, ValueError, OverflowError) as error:
        raise EngineError(
            f"No Ray cluster can be reached at {address!r} ({error}): write the HOST:PORT of its head, as `ray start "
            "--head` there says, and see that this machine may connect to it."
        ) from error


class Ray(Engine):
    """A Ray cluster, whose nodes come and go.

    Args:
        address: see :func:`connect`.
        jobs: most tasks side by side; None: as many as there is room for.
        cores: of each task, which are its threads.
        gpus: the share of a GPU of each task.
        memory: bytes that each task may use.
    """

    name = "ray"
    shares_disk = False

    def __init__(self, address: str, *, jobs: int | None, cores: int, gpus: float, memory: int | None) -> None:
        self._ray = import_ray()
        self._leaves = connect(address)
        self._jobs, self._needs = jobs, Needs(cores, gpus, memory)
        self._remote = self._ray.remote(_work)
        self._running: dict[Any, tuple[Task, float]] = {}
        self._waiting: list[Task] = []
        self._slots, self._asked = 0, -float("inf")
        self._head, self._seen, self._lost = str(self._ray.get_runtime_context().gcs_address), time.monotonic(), False
        self._versions = {"Salus": salus.__version__, "PyTorch": torch.__version__}
        try:
            self._look_around()
        except BaseException:
            self.close()
            raise

    def _look_around(self) -> None:
        """See what the cluster has.

        Raises:
            EngineError: no node has what a task needs.
        """
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        own = self._ray.util.get_node_ip_address()
        self._far = any(node["NodeManagerAddress"] != own for node in nodes)
        total, needs = self._ray.cluster_resources(), self._needs
        count = f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}"
        self.words = f"a Ray cluster of {count} with {total.get('CPU', 0):g} cores, {needs.cores} a task"
        if needs.gpus and not total.get("GPU"):
            raise EngineError("The Ray cluster has no GPU, and --device asks for one: start a node with --num-gpus.")
        if not self.slots:
            raise EngineError(
                f"No node of the Ray cluster has what a task is to take, {needs.cores} cores"
                f"{'' if needs.memory is None else f' and {needs.memory / 1e9:g} GB'}: give less by --task-cores or "
                "--task-memory."
            )

    @property
    def slots(self) -> int:
        """How many tasks the cluster has room for now, or the jobs."""
        if time.monotonic() - self._asked > _BELIEVED:
            self._see_head()
            self._slots, self._asked = self._count(), time.monotonic()
        return self._slots if self._jobs is None else min(self._jobs, self._slots)

    @property
    def pending(self) -> int:
        """Tasks that wait or run."""
        return len(self._waiting) + len(self._running)

    def share(self, value: T) -> Shared[T]:
        """Put it in the object store, from which each node fetches it once."""
        if self._far:
            _send_along(self._ray)
        reference = self._ray.put(value)
        return Shared(reference.hex(), reference)

    def submit(self, task: Task) -> None:
        """Hand it to the cluster, which finds it a place; where jobs are limited, let it wait."""
        self._waiting.append(task)
        self._begin()

    def wait(self) -> Done:
        """Wait for the next task that ends.

        Raises:
            EngineError: the cluster is gone, or its nodes have another version of Salus or PyTorch.
        """
        try:
            ended: list[Any] = []
            while not ended:
                self._see_head()
                ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_BELIEVED)
            task, begun = self._running.pop(ended[0])
            outcome = self._outcome(ended[0], begun)
        except self._ray.exceptions.RaySystemError as error:
            raise self._gone(_short(error)) from error
        if (other := outcome.pop("other", None)) is not None:
            raise EngineError(other)
        self._begin()
        return Done(task, **outcome)

    def close(self) -> None:
        """Take back what is running, and leave the cluster."""
        running = [] if self._lost else list(self._running)
        self._running.clear()
        self._waiting.clear()
        for reference in running:
            self._ray.cancel(reference, force=True)
        if not self._leaves:
            return
        leaving = threading.Thread(target=self._ray.shutdown, name="salus-leave", daemon=True)
        leaving.start()
        leaving.join(_LEAVE if self._lost else None)  # from a cluster that is gone Ray takes long to part

    def _see_head(self) -> None:
        """See now and then whether the head of the cluster is there; without it Ray ends this process after a minute.

        Raises:
            EngineError: it is gone.
        """
        if time.monotonic() - self._seen < _BELIEVED:
            return
        for left in reversed(range(_KNOCKS)):
            try:
                _knock(self._head)
                break
            except EngineError as error:
                if not left:
                    raise self._gone("its head does not answer") from error
                time.sleep(1)
        self._seen = time.monotonic()

    def _gone(self, why: str) -> EngineError:
        self._lost = True
        return EngineError(f"The Ray cluster is gone ({why}): run the same command to go on where it was.")

    def _begin(self) -> None:
        """Hand on what waits: as many as the jobs; or twice as many as there is room for, which hides the way."""
        room = self._jobs if self._jobs is not None else 2 * self.slots
        while self._waiting and len(self._running) < room:
            task = self._waiting.pop(0)
            needs = task.needs or self._needs
            options = {"num_cpus": needs.cores, "num_gpus": needs.gpus, "max_retries": _RETRIES}
            if needs.memory is not None:
                options["memory"] = needs.memory
            # A reference that is an argument itself is fetched by the task's node before it begins.
            shared = {place: each.key for place, each in enumerate(task.arguments) if isinstance(each, Shared)}
            arguments = [[each.handle] if isinstance(each, Shared) else each for each in task.arguments]
            send = self._remote.options(**options).remote
            try:
                reference = send(task.function, arguments, shared, needs, self._versions)
            except Exception as error:  # what a user's code cannot be turned into fails as it would where it runs
                reference = self._ray.put(unsent(error))
            self._running[reference] = (task, time.monotonic())

    def _outcome(self, reference: Any, begun: float) -> dict[str, Any]:
        errors = self._ray.exceptions
        try:
            outcome: dict[str, Any] = self._ray.get(reference)
        except errors.OutOfMemoryError:
            sentence = "Ray ended it, as its machine ran out of memory: give a task more cores, or run fewer at once."
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.LocalRayletDiedError, errors.ObjectLostError):
            sentence = f"Its process ended {_RETRIES + 1} times in the middle of it: it was killed, or crashed."
        except errors.RayTaskError as error:  # it could not even be unpacked where it was to run
            sentence = f"It cannot be run there: {_short(error)}"
        else:
            return outcome
        return {"value": None, "error": sentence, "seconds": time.monotonic() - begun}

    def _count(self) -> int:
        """Count the tasks that fit on the nodes, each on one."""
        needs, count = self._needs, 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                fits = has.get("CPU", 0) // needs.cores
                if needs.gpus:
                    fits = min(fits, has.get("GPU", 0) // needs.gpus)
                if needs.memory is not None:
                    fits = min(fits, has.get("memory", 0) // needs.memory)
                count += int(fits)
        return count


#: What this process, made for tasks, has read of what is shared.
_read: dict[str, Any] = {}


def _work(
    function: Any, arguments: Sequence[Any], shared: dict[int, str], needs: Needs, versions: dict[str, str]
) -> dict[str, Any]:
    """Run a task in a process of Ray's."""
    own = {"Salus": salus.__version__, "PyTorch": torch.__version__}
    if own != versions:
        name = next(each for each in own if own[each] != versions[each])
        other = f"A node of the Ray cluster has {name} {own[name]}, this machine {versions[name]}: install the same."
        return {"value": None, "error": other, "seconds": 0.0, "other": other}
    values = list(arguments)
    for place, key in shared.items():
        if key not in _read:
            import ray

            _read[key] = ray.get(arguments[place][0])
        values[place] = _read[key]
    return run_apart(function, values, needs)


def _send_along(ray: ModuleType) -> None:
    """Let the user's own modules, which other machines lack, travel with what they make."""
    paths = [Path(place) for place in _own_paths()]
    for name, module in list(sys.modules.items()):
        own = name.partition(".")[0] not in ("__main__", "salus", "salus_studies")
        file = Path(getattr(module, "__file__", None) or "/")
        if own and "site-packages" not in file.parts and any(file.is_relative_to(place) for place in paths):
            ray.cloudpickle.register_pickle_by_value(module)


def _own_paths() -> list[str]:
    """List where this process imports from, beside what is installed."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return [str(Path(place).absolute()) for place in sys.path if place not in installed and Path(place or ".").is_dir()]


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
