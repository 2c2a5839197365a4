"""What a replica has of its service on another machine: copies of the bundles, and word of the other replicas."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from salus.atomic import write_bytes
from salus.errors import BundleError, EngineError, SalusError
from salus.serve.crew import Crew
from salus.serve.guards import GuardSource, LoadedGuard
from salus.serve.metrics import Metrics
from salus.serve.ray.figures import families_of, merged, text_of
from salus.serve.ray.keeper import Attention

_LOG = logging.getLogger("salus.serve")

#: Seconds to wait for the keeper's answer.
_PATIENCE = 30.0

T = TypeVar("T")


def asked(answer: Any) -> Any:
    """Wait for what the keeper says.

    Args:
        answer: a reference of Ray's to it.

    Raises:
        SalusError: what the keeper raised.
        EngineError: the keeper is gone, or does not answer.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError

    try:
        return ray.get(answer, timeout=_PATIENCE)
    except RayTaskError as error:
        if isinstance(error.cause, SalusError):
            raise error.cause from None
        raise EngineError(f"The keeper of the bundles failed ({type(error.cause).__name__}).") from error
    except (RayError, GetTimeoutError) as error:
        raise EngineError(
            f"The command that serves does not answer ({type(error).__name__}): start `salus serve` again."
        ) from error


@dataclass(frozen=True, kw_only=True)
class Carried(GuardSource):
    """A guard whose bundle lies on another machine.

    Attributes:
        keeper: the actor that reads it.
        place: where copies go on this machine.
    """

    keeper: Any = field(compare=False, repr=False)
    place: Path = field(compare=False)

    def mark(self) -> str | None:
        """Tell apart two states of the bundle; None while the command that serves does not answer."""
        try:
            return str(asked(self.keeper.mark.remote(self.name)))
        except EngineError:
            return None

    def load(self, device: str) -> LoadedGuard:
        """Copy the bundle here and load it, checking all of it.

        Raises:
            BundleError: it cannot be used, or not be fetched.
        """
        copy = self.place / self.name
        try:
            files: dict[str, bytes] = asked(self.keeper.files.remote(self.name))
        except EngineError as error:
            raise BundleError(f"The bundle in {self.folder} cannot be fetched. {error}") from error
        unpack(files, copy)
        try:
            return self.load_from(copy, device)
        except SalusError as error:  # it is the folder that was named which somebody can put right
            raise type(error)(str(error).replace(str(copy), str(self.folder))) from error


def unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write a bundle's files in place of those that were there.

    Raises:
        BundleError: a file would land outside the folder.
        StoreError: the folder cannot be written.
    """
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise BundleError(f"The bundle has a file {name!r}, which would land outside its folder.")
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        write_bytes(folder / name, content)


class Replicas(Crew):
    """The replicas of a service on Ray.

    Args:
        keeper: the actor by which they hear of each other.
        name: of this one.
    """

    alone = False

    def __init__(self, keeper: Any, name: str) -> None:
        self._keeper, self._name = keeper, name
        attention: Attention = asked(keeper.attend.remote(name, []))
        self._known = dict(attention.reloads)
        self.size = max(1, attention.replicas)
        self._away = False

    def pass_on(self, name: str) -> None:
        """Tell the others to load a guard's bundle again.

        Raises:
            EngineError: they cannot be told.
        """
        self._known[name] = asked(self._keeper.pass_on.remote(name))

    def heard(self, metrics: Metrics) -> Sequence[str]:
        """Give word, and name the guards that another replica was told to load again."""
        try:
            attention: Attention = asked(self._keeper.attend.remote(self._name, families_of(metrics.registry)))
        except EngineError as error:
            if not self._away:
                _LOG.warning("%s Until then bundles are not looked at and no replica is added.", error)
            self._away = True
            return ()
        self._away = False
        before, self._known = self._known, dict(attention.reloads)
        self.size = max(1, attention.replicas)
        return [name for name, word in self._known.items() if before.get(name) != word]

    def figures(self, metrics: Metrics) -> bytes:
        """Write the figures of all replicas; of this one alone while the keeper does not answer."""
        try:
            others = asked(self._keeper.figures.remote(self._name))
        except EngineError:
            others = []
        return text_of(merged([*others, (True, families_of(metrics.registry))]))
