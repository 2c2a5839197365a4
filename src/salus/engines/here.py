"""Tasks in this process, one after another: no copies, no start, and errors with all that Python knows of them."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from salus.engines.base import Done, Engine, Shared, Task
from salus.engines.working import run

T = TypeVar("T")


class Here(Engine):
    """This process, with the threads that torch has."""

    name = "local"
    words = "this process"
    shares_disk = True

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    @property
    def slots(self) -> int:
        """One."""
        return 1

    @property
    def pending(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def share(self, value: T) -> Shared[T]:
        """Keep it as it is."""
        return Shared(str(id(value)), value)

    def submit(self, task: Task) -> None:
        """Let it wait."""
        self._waiting.append(task)

    def wait(self) -> Done:
        """Run the next one."""
        task = self._waiting.popleft()
        return Done(task, **run(task.function, [_value(each) for each in task.arguments]))

    def close(self) -> None:
        """Forget those that wait."""
        self._waiting.clear()


def _value(argument: object) -> object:
    return argument.handle if isinstance(argument, Shared) else argument
