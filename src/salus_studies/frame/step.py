"""Steps that stand alone, described: what each does on what, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.classifier import Classifier
from salus.engines import Engine, Needs, Task
from salus.engines.folders import Files, filled, offered
from salus.storage import TrainingFolder


@dataclass(frozen=True, eq=False)
class Step:
    """A step that stands alone, so that others may be done at the same time.

    Attributes:
        name: of the file that keeps it.
        kind: steps of one kind take about as long.
        key: all that decides what it leaves, as plain values.
        function: does it, and gives its content; it may run in another process, and changes nothing that others see.
        arguments: of the call; what is large and given to several of them is shared first, see :meth:`Steps.share`.
        blank: what to say of it where it is not run.
        fills: a folder that it writes into, which then is the first argument; None where it writes nothing.
        needs: what it needs; None for what the engine gives each.
    """

    name: str
    kind: str
    key: Any
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...] = ()
    blank: dict[str, Any] | None = None
    fills: Path | None = None
    needs: Needs | None = None

    def here(self) -> dict[str, Any]:
        """Do it in this process."""
        place = () if self.fills is None else (self.fills,)
        return self.function(*place, *self.arguments)

    def task(self, engine: Engine) -> Task:
        """Make a task of it, whose value is its content and the files that come back; see ``engines.folders``."""
        place = None if self.fills is None else offered(engine, self.fills)
        return Task(self.name, _call, (self.function, place, self.fills is not None, *self.arguments), self.needs)


@dataclass(frozen=True, eq=False)
class Training:
    """A training that stands alone, as a step.

    Attributes:
        name: of the step.
        kind: trainings of one kind take about as long.
        key: all that decides what is trained, as plain values.
        place: where it is kept.
        function: trains, given where the checkpoint lies and the arguments; gives the classifier, and what is to be
            told of it.
        arguments: of the call.
        blank: what else its record says, trained or not.
    """

    name: str
    kind: str
    key: Any
    place: TrainingFolder
    function: Callable[..., tuple[Classifier, dict[str, Any]]]
    arguments: tuple[Any, ...]
    blank: dict[str, Any]

    def step(self) -> Step:
        """Make a step of it, which leaves the classifier in its place."""
        return Step(
            name=self.name,
            kind=self.kind,
            key=self.key,
            function=_train,
            arguments=(self.place.what, self.key, self.blank, self.function, *self.arguments),
            blank=self.blank,
            fills=self.place.folder,
        )


def _train(
    folder: Path,
    what: str,
    key: Any,
    blank: dict[str, Any],
    function: Callable[..., tuple[Classifier, dict[str, Any]]],
    *arguments: Any,
) -> dict[str, Any]:
    """Train into a folder, or read what it holds."""
    _, facts = TrainingFolder(folder, what).once(lambda checkpoint: function(checkpoint, *arguments), key)
    return {**blank, **facts}


def _call(
    function: Callable[..., dict[str, Any]], place: Path | None, fills: bool, *arguments: Any
) -> tuple[dict[str, Any], Files]:
    """Do a step as a task."""
    if not fills:
        return function(*arguments), {}
    return filled(place, lambda folder: function(folder, *arguments))
