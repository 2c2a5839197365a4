"""Trainings kept and read back: a network is trained once into a folder, and goes on there when it was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from salus.atomic import write_json
from salus.classifier import Classifier
from salus.errors import BundleError
from salus.progress import console
from salus.storage.folder import digest

#: Trains, given where its checkpoint lies; gives the classifier and what is to be told of it, as plain values.
Train = Callable[[Path], "tuple[Classifier, dict[str, Any]]"]

_CARD = "training.json"


class TrainingFolder:
    """The folder of one training: its checkpoint, then the classifier and what is to be told of it.

    Args:
        folder: where it is.
        what: names the classifier in a remark about a damaged one.
    """

    def __init__(self, folder: Path, what: str = "classifier") -> None:
        self.folder, self.what = folder, what

    @property
    def checkpoint(self) -> Path:
        """Where the training keeps what it goes on from after a kill."""
        return self.folder / "training.checkpoint"

    def read(self) -> Classifier | None:
        """Read the classifier that was kept; None where there is none, or a damaged one, which is said."""
        if not (self.folder / "model.json").exists():
            return None
        try:
            return Classifier.load(self.folder)
        except BundleError as error:
            console.print(f"The stored {self.what} cannot be used ({error}); it is trained again.")
            return None

    def once(self, train: Train, key: Any = None) -> tuple[Classifier, dict[str, Any]]:
        """Read the classifier that was kept, or train it and keep it.

        Args:
            train: trains.
            key: all that decides what comes of it, as plain values: what was trained by another is trained again.
                None where the folder never holds another.
        """
        facts = self._facts(key)
        if facts is not None and (classifier := self.read()) is not None:
            return classifier, facts
        classifier, facts = train(self.checkpoint)
        classifier.save(self.folder)
        write_json(self.folder / _CARD, {"key": digest(key), "facts": facts})
        self.checkpoint.unlink(missing_ok=True)
        return classifier, facts

    def _facts(self, key: Any) -> dict[str, Any] | None:
        """Read what is told of the classifier; None where it was trained by another key."""
        try:
            card = json.loads((self.folder / _CARD).read_text(encoding="utf-8"))
            facts: dict[str, Any] = card["facts"]
            if key is None or card["key"] == digest(key):
                return facts
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {} if key is None else None
