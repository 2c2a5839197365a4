"""The folder of a study: claimed once, locked while it works, and what was done in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.engines import Engine
from salus.storage import Store
from salus_studies.frame.steps import Steps


@dataclass(frozen=True)
class Reproduction:
    """What a study came to: its page, and how many steps were done now, before, and not at all."""

    page: Path
    computed: int = 0
    stored: int = 0
    not_run: int = 0


class Folder:
    """A folder that is locked and not yet claimed.

    Args:
        store: where it is.
        study: the name of whose it shall be.
        version: of that study's steps.
        command: how to repeat what is done in it.
        engine: where what stands alone is done; None for this process.
    """

    def __init__(self, store: Store, study: str, version: int, command: str, engine: Engine | None = None) -> None:
        self.store, self.study, self.version, self.command, self.engine = store, study, version, command, engine
        self.steps: Steps | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.store.folder

    def claim(self, identity: Mapping[str, Any], plan: Mapping[str, Any], minutes: float | None = None) -> Steps:
        """Make the folder this study's, or go on with it, once options and data are known to be good.

        Args:
            identity: what decides all that is done here, such as scale and seed; it may not change.
            plan: what else was asked for, for the record.
            minutes: begin no step that is not likely to end within so many; None: no limit.

        Raises:
            StoreError: it was begun for something else.
        """
        self.store.claim({"paper": self.study, **identity}, plan)
        self.steps = Steps(self.path, self.version, minutes, self.command, self.engine)
        return self.steps

    def reproduction(self, page: Path) -> Reproduction:
        """Count what was done."""
        if self.steps is None:  # what has no steps claims nothing
            return Reproduction(page)
        return Reproduction(page, self.steps.computed, self.steps.stored, self.steps.not_run)
