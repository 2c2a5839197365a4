"""Steps of a study: each is done once, stored, or not begun because the time would not do."""

from __future__ import annotations

import json
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import salus
from salus import atomic
from salus.classifier import Classifier
from salus.engines import Done, Engine, Task
from salus.engines.folders import take_in
from salus.errors import EngineError
from salus.progress import Advance, console, progress
from salus.storage import TrainingFolder, digest, versions
from salus.storage.trainings import Train
from salus_studies.frame.step import Step, Training


class Steps:
    """Steps in the folder ``steps`` of a study, within a budget of time.

    Args:
        folder: of the study.
        version: changes whenever a step's content would: stored steps of older versions are then done again.
        minutes: begin no step that is not likely to end within so many; None: no limit.
        command: how to repeat the whole, for the page.
        engine: where steps that stand alone are done; None for this process.
    """

    def __init__(
        self,
        folder: Path,
        version: int,
        minutes: float | None = None,
        command: str = "",
        engine: Engine | None = None,
    ) -> None:
        self.folder, self.version, self.minutes, self.command = folder, version, minutes, command
        self.part, self.parts = "", frozenset[str]()  # where the work stands, and what of it is begun; none for all
        self.engine = engine
        self.began = time.monotonic()
        self.computed = self.stored = self.not_run = 0
        self._now: set[str] = set()
        self.lasted: dict[str, float] = {}  # kind of step -> seconds of the longest so far

    def do(
        self,
        name: str,
        kind: str,
        key: Any,
        work: Callable[[], dict[str, Any]],
        *,
        blank: dict[str, Any] | None = None,
        always: bool = False,
    ) -> dict[str, Any]:
        """Do one step, or read what it left; begin none that is not likely to fit the time that is left.

        The content that comes back has ``status`` ("done" or "not run"), ``reason`` and ``seconds`` beside its own.

        Args:
            name: of the file that keeps it.
            kind: steps of one kind take about as long.
            key: all that decides what it leaves, as plain values.
            work: does it.
            blank: what to say of it where it is not run.
            always: do it however little time is left, because others need it.
        """
        if (stored := self._stored(name, key)) is not None:
            return stored
        if not always and not self._fits(kind):
            return self._left_out(name, key, blank)
        began = time.monotonic()
        content = work()
        return self._done(name, kind, key, content, time.monotonic() - began)

    def do_all(self, steps: Sequence[Step], title: str = "") -> list[dict[str, Any]]:
        """Do steps of which none needs another, side by side where there is an engine, or read what they left.

        What they leave is the same either way. Each is stored by this process as soon as it ends.

        Args:
            steps: in the order in which they are begun.
            title: of the progress display; without one there is one only where what steps print is not seen.

        Returns:
            Their contents, in the order given; see :meth:`do`.

        Raises:
            EngineError: one failed where it was done; all others are done and stored.
        """
        if not steps or (not title and self.engine is None):
            return self._all(steps, lambda *given, **named: None)
        with progress(title or f"Steps {steps[0].name} to {steps[-1].name}", len(steps)) as advance:
            return self._all(steps, advance)

    def worth_preparing(self, part: str, *names: str) -> bool:
        """Tell whether steps of a part are begun now, or one of them was done before, so that it is to be read."""
        if not self.parts or part in self.parts:
            return True
        contents = (self._content(name) for name in names)
        return any(content is not None and content.get("status") == "done" for content in contents)

    def _content(self, name: str) -> dict[str, Any] | None:
        """Read what a step left, whatever it was done by; None where there is nothing to read."""
        try:
            content: dict[str, Any] = json.loads(self.path(name).read_text(encoding="utf-8"))["content"]
            return content
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def share(self, value: Any) -> Any:
        """Put what several steps are given where all of them find it; hand on the result as an argument."""
        return value if self.engine is None else self.engine.share(value)

    def _all(self, steps: Sequence[Step], advance: Advance) -> list[dict[str, Any]]:
        if self.engine is None:
            contents = []
            for step in steps:
                advance(0, note=step.name)
                contents.append(self.do(step.name, step.kind, step.key, step.here, blank=step.blank))
                advance(1)
            return contents
        return self._by(self.engine, steps, advance)

    def _by(self, engine: Engine, steps: Sequence[Step], advance: Advance) -> list[dict[str, Any]]:
        contents: dict[str, dict[str, Any]] = {}
        waiting, running, failed = deque(steps), dict[Task, Step](), dict[str, str]()
        while waiting or running:
            while waiting and len(running) < max(1, engine.slots):
                step = waiting.popleft()
                if (stored := self._stored(step.name, step.key)) is not None:
                    contents[step.name] = stored
                    advance(1)
                elif self._fits(step.kind):
                    task = step.task(engine)
                    running[task] = step
                    engine.submit(task)
                else:
                    contents[step.name] = self._left_out(step.name, step.key, step.blank)
                    advance(1)
            if running:
                done = engine.wait()
                step = running.pop(done.task)
                if done.error is None:
                    contents[step.name] = self._taken(step, done)
                else:
                    failed[step.name] = done.error
                advance(1, note=step.name)
        if failed:
            name, reason = next(iter(failed.items()))
            raise EngineError(
                f"Of {len(steps)} steps {len(failed)} failed, the others are stored ({name}: {reason.rstrip('.')}); "
                "run it again to go on."
            )
        return [contents[step.name] for step in steps]

    def _taken(self, step: Step, done: Done) -> dict[str, Any]:
        content, files = done.value
        if step.fills is not None:
            take_in(files, step.fills)
        return self._done(step.name, step.kind, step.key, content, done.seconds)

    def _stored(self, name: str, key: Any) -> dict[str, Any] | None:
        """Read what a step left, and count it unless it was done just now."""
        stored = self.read(name, key)
        self.stored += stored is not None and name not in self._now
        return stored

    def _fits(self, kind: str) -> bool:
        """Tell whether a step of this kind was asked for, and is likely to end in time."""
        if self.parts and self.part not in self.parts:
            return False
        if self.minutes is None:
            return True
        left = 60 * self.minutes - (time.monotonic() - self.began)
        return left > 0 and self.lasted.get(kind, 0.0) <= left

    def _left_out(self, name: str, key: Any, blank: dict[str, Any] | None) -> dict[str, Any]:
        self.not_run += 1
        if self.parts and self.part not in self.parts:  # what lies there, though made by another key, stays
            return {**(blank or {}), "status": "not run", "reason": f"the part {self.part} was not asked for"}
        reason = f"no time left within the budget of {self.minutes or 0:g} minutes"
        if self.minutes == 0:  # a run that is gathered as it lies, to be shown before it is done
            reason = "stopped before; the command goes on"
        return self._write(name, key, {**(blank or {}), "status": "not run", "reason": reason})

    def _done(self, name: str, kind: str, key: Any, content: dict[str, Any], seconds: float) -> dict[str, Any]:
        content = {**content, "status": "done", "reason": None}
        content.setdefault("seconds", round(seconds, 1))
        self.lasted[kind] = max(self.lasted.get(kind, 0.0), seconds)
        self.computed += 1
        self._now.add(name)
        return self._write(name, key, content)

    def _write(self, name: str, key: Any, content: dict[str, Any]) -> dict[str, Any]:
        atomic.write_json(self.path(name), {"key": digest([self.version, key]), "content": content})
        return content

    def read(self, name: str, key: Any) -> dict[str, Any] | None:
        """Read what a step left; None where it has not been done, or not by this key, or is damaged, which is said."""
        path = self.path(name)
        if not path.exists():
            return None
        try:
            step = json.loads(path.read_text(encoding="utf-8"))
            if step["key"] == digest([self.version, key]) and step["content"]["status"] == "done":
                content: dict[str, Any] = step["content"]
                return content
        except (OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"Step {name} is damaged ({error}); it is done again.")
        return None

    def train(
        self, name: str, kind: str, key: Any, place: TrainingFolder, train: Train, *, blank: dict[str, Any]
    ) -> tuple[Classifier | None, dict[str, Any]]:
        """Train a classifier as a step, or read it where it was trained.

        Args:
            name: of the step.
            kind: trainings of one kind take about as long.
            key: all that decides what is trained, as plain values.
            place: where it is kept.
            train: trains, and gives what is to be told of it.
            blank: what else its record says, trained or not.

        Returns:
            The classifier, None where the time does not allow it; and the record.
        """
        classifier = place.read()
        if classifier is None:
            self.forget(name)

        def work() -> dict[str, Any]:
            nonlocal classifier
            classifier, facts = place.once(train, key)
            return {**blank, **facts}

        content = self.do(name, kind, key, work, blank=blank)
        return (classifier if content["status"] == "done" else None), content

    def train_all(self, trainings: Sequence[Training]) -> list[tuple[Classifier | None, dict[str, Any]]]:
        """Train classifiers of which none needs another, side by side where there is an engine; see :meth:`train`."""
        for training in trainings:
            if training.place.read() is None:
                self.forget(training.name)
        contents = self.do_all([training.step() for training in trainings])
        pairs = zip(trainings, contents, strict=True)
        return [(each.place.read() if content["status"] == "done" else None, content) for each, content in pairs]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the engine out of what a task is given: there, steps are done where they stand."""
        return {**self.__dict__, "engine": None}

    def path(self, name: str) -> Path:
        """Name the file of a step."""
        return self.folder / "steps" / f"{name}.json"

    def forget(self, name: str) -> None:
        """Drop a step whose artefact is gone."""
        self.path(name).unlink(missing_ok=True)

    def contents(self) -> dict[str, dict[str, Any]]:
        """Read all that is stored, by the steps' names."""
        return {
            path.stem: json.loads(path.read_text(encoding="utf-8"))["content"]
            for path in sorted((self.folder / "steps").glob("*.json"))
        }

    def meta(self, *, scale: str, seed: int, device: str) -> dict[str, Any]:
        """Say when, on what and by what command the stored steps were made."""
        return {
            "command": self.command,
            "scale": scale,
            "seed": seed,
            "salus": salus.__version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {platform.system()}, {_processor()}, device {device}",
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "seconds": round(sum(content.get("seconds") or 0.0 for content in self.contents().values()), 1),
            "budget_minutes": self.minutes,
        }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
