"""Tasks, and what runs them: the same for one process, several on a machine, and a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


@dataclass(frozen=True)
class Needs:
    """What a task needs while it runs.

    Attributes:
        cores: processor cores, which are the threads that torch has there.
        gpus: GPUs, or a share of one.
        memory: bytes of main memory that it may use beside what its process had before; None: no limit is kept.
    """

    cores: int = 1
    gpus: float = 0.0
    memory: int | None = None


@dataclass(frozen=True)
class Shared(Generic[T]):
    """A value that was put once where all tasks find it; see :meth:`Engine.share`.

    Attributes:
        key: names it.
        handle: the engine's own.
    """

    key: str
    handle: Any = field(compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Task:
    """A call of a function, which may happen in another process or on another machine.

    A task that was lost with its process or machine is run again, so that it must not change what others see.

    Attributes:
        key: names it, for messages.
        function: a function of a module, or of the user's own.
        arguments: of the call; one that is :class:`Shared` is replaced by its value, which no task may change.
        needs: what it needs; None for what the engine gives each.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    needs: Needs | None = None


@dataclass(frozen=True, eq=False)
class Done:
    """What came of a task.

    Attributes:
        task: which.
        value: what its function returned; None where it failed.
        error: why it failed, in one sentence; None where it did not.
        seconds: how long it ran.
        said: lines that it would have said on the terminal.
    """

    task: Task
    value: Any
    error: str | None
    seconds: float
    said: tuple[str, ...] = ()


class Engine(ABC):
    """Runs tasks; a context manager that ends its processes.

    Attributes:
        words: the engine as a reader should know it: "2 processes of 1 thread".
        shares_disk: whether tasks see this machine's files, so that they may write where the owner reads.
    """

    name: ClassVar[str]
    words: str
    shares_disk: bool

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many tasks run side by side, as far as is known now."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """How many tasks were submitted and not yet given back by :meth:`wait`."""

    @abstractmethod
    def share(self, value: T) -> Shared[T]:
        """Put a value once where all tasks find it."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Hand in a task; it begins when there is room."""

    @abstractmethod
    def wait(self) -> Done:
        """Wait for the next task that ends, in whichever order.

        Raises:
            EngineError: no task can be run any more.
        """

    @abstractmethod
    def close(self) -> None:
        """End what runs, and whatever was started for it."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Done]:
        """Run tasks, drawn from the iterable as there is room, and give each as it ends."""
        source, ended = iter(tasks), False
        while True:
            while not ended and self.pending < 2 * max(1, self.slots):
                task = next(source, None)
                if task is None:
                    ended = True
                else:
                    self.submit(task)
            if not self.pending:
                return
            yield self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
