"""Keeps what the replicas of a service share: the bundles, what each was told, and what all have counted.

It runs beside the command that serves, as an actor of Ray, and sees the folders of the bundles; it judges nothing, and
requests go past it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from salus.errors import BundleError
from salus.serve.marks import mark_of
from salus.serve.ray.figures import Family, merged

#: Seconds without a word after which a replica is taken to be gone.
_GONE = 15.0

#: Replicas that are gone whose figures are kept apart.
_APART = 50

#: Faults that are kept.
_FAULTS = 10

#: The audit that a bundle's page shows: where it is read from, and what it is called in the copy.
_AUDIT = "audit/results.json"


@dataclass(frozen=True)
class Attention:
    """What a replica hears when it gives word.

    Attributes:
        reloads: guard -> a word that is another one each time that a replica was told to load it again.
        replicas: how many have given word lately.
    """

    reloads: Mapping[str, str]
    replicas: int


@dataclass
class _Replica:
    heard: float
    families: Sequence[Family]


class Keeper:
    """What the replicas of a service share.

    Args:
        folders: of the bundles, by the guards' names.
        clock: tells the seconds.
    """

    def __init__(self, folders: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = {name: Path(folder) for name, folder in folders.items()}
        self._clock = clock
        self._reloads: dict[str, str] = {}
        self._replicas: dict[str, _Replica] = {}
        self._past: Sequence[Family] = ()  # of those that are gone for long
        self._faults: list[str] = []

    def mark(self, name: str) -> str:
        """Tell apart two states of a bundle."""
        return mark_of(self._folders[name])

    def files(self, name: str) -> dict[str, bytes]:
        """Read a bundle: its files by their names, and the audit that lies beside it.

        Raises:
            BundleError: it cannot be read.
        """
        folder = self._folders[name]
        try:
            files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
            audits = [folder / _AUDIT, *([folder.parent.parent / "results.json"] * (folder.parent.name == "guards"))]
            audit = next((path for path in audits if path.is_file()), None)
            if audit is not None:
                files[_AUDIT] = audit.read_bytes()
        except OSError as error:
            raise BundleError(f"The bundle in {folder} cannot be read ({error.strerror}); check its rights.") from error
        if not files:
            raise BundleError(f"The folder {folder} holds no bundle; put it back.")
        return files

    def pass_on(self, name: str) -> str:
        """Take note that a guard is to be loaded again; return the word by which replicas know it."""
        self._reloads[name] = secrets.token_hex(8)
        return self._reloads[name]

    def attend(self, replica: str, families: Sequence[Family]) -> Attention:
        """Take a replica's figures, and tell it what it was told."""
        now = self._clock()
        self._replicas[replica] = _Replica(now, families)
        live = sum(now - each.heard <= _GONE for each in self._replicas.values())
        self._forget(now)
        return Attention(dict(self._reloads), live)

    def figures(self, replica: str) -> list[tuple[bool, Sequence[Family]]]:
        """Give the figures of all replicas but one, each with whether it still runs."""
        now = self._clock()
        others = [each for name, each in self._replicas.items() if name != replica]
        return [(False, self._past), *((now - each.heard <= _GONE, each.families) for each in others)]

    def fail(self, sentence: str) -> None:
        """Take note of why a replica could not start."""
        self._faults = [*self._faults, sentence][-_FAULTS:]

    def faults(self) -> list[str]:
        """Say why replicas could not start, the last one last."""
        return self._faults

    def _forget(self, now: float) -> None:
        """Add up the figures of replicas that are gone for long."""
        gone = sorted((each.heard, name) for name, each in self._replicas.items() if now - each.heard > _GONE)
        for _, name in gone[: max(0, len(gone) - _APART)]:
            self._past = merged([(False, self._past), (False, self._replicas.pop(name).families)])
