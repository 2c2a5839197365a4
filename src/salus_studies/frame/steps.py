"""Steps of a study: each is done once, stored, or not begun because the time would not do."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import salus
from salus import atomic
from salus.classifier import Classifier
from salus.progress import console
from salus.storage import TrainingFolder, digest, versions
from salus.storage.trainings import Train


class Steps:
    """Steps in the folder ``steps`` of a study, within a budget of time.

    Args:
        folder: of the study.
        version: changes whenever a step's content would: stored steps of older versions are then done again.
        minutes: begin no step that is not likely to end within so many; None: no limit.
        command: how to repeat the whole, for the page.
    """

    def __init__(self, folder: Path, version: int, minutes: float | None = None, command: str = "") -> None:
        self.folder, self.version, self.minutes, self.command = folder, version, minutes, command
        self.began = time.monotonic()
        self.computed = self.stored = self.not_run = 0
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
        path = self.path(name)
        fingerprint = digest([self.version, key])
        if (stored := self.read(name, key)) is not None:
            self.stored += 1
            return stored
        left = None if self.minutes is None else 60 * self.minutes - (time.monotonic() - self.began)
        needed = self.lasted.get(kind, 0.0)
        if left is not None and not always and (left <= 0 or needed > left):
            self.not_run += 1
            reason = f"no time left within the budget of {self.minutes:g} minutes"
            content = {**(blank or {}), "status": "not run", "reason": reason}
        else:
            began = time.monotonic()
            content = {**work(), "status": "done", "reason": None}
            seconds = time.monotonic() - began
            content.setdefault("seconds", round(seconds, 1))
            self.lasted[kind] = max(needed, seconds)
            self.computed += 1
        atomic.write_json(path, {"key": fingerprint, "content": content})
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
