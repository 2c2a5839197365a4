"""The workers of one service: what one of them is told, all of them do, and their figures are one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from salus.atomic import write_text
from salus.serve.metrics import Metrics

_RELOAD = "reload-"


class Crew:
    """A worker alone.

    Attributes:
        size: how many workers there are, this one included.
        alone: whether there can be no others.
    """

    size: int = 1
    alone: bool = True

    def pass_on(self, name: str) -> None:
        """Tell the others to load a guard's bundle again.

        Raises:
            StoreError: they cannot be told.
        """

    def heard(self, metrics: Metrics) -> Sequence[str]:
        """Name the guards that another worker was told to load again since the call before.

        Args:
            metrics: what this worker has counted so far.
        """
        return ()

    def figures(self, metrics: Metrics) -> bytes:
        """Write the figures of all workers as Prometheus reads them."""
        return metrics.text()


class Neighbours(Crew):
    """The processes of a service on one machine, which share a folder.

    Args:
        folder: that they share.
        size: how many they are.
    """

    alone = False

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._folder = folder
        self._known = self._told()

    def pass_on(self, name: str) -> None:
        """Leave a word for the others."""
        word = secrets.token_hex(8)
        write_text(self._folder / f"{_RELOAD}{name}", word)
        self._known[name] = word

    def heard(self, metrics: Metrics) -> Sequence[str]:
        """Look for words that others have left."""
        before, self._known = self._known, self._told()
        return [name for name, word in self._known.items() if before.get(name) != word]

    def _told(self) -> dict[str, str]:
        told = {}
        for path in self._folder.glob(f"{_RELOAD}*"):
            with suppress(OSError):  # the service is ending, and its folder with it
                told[path.name[len(_RELOAD) :]] = path.read_text("utf-8")
        return told
