"""The guards that are served: loaded from their bundles, and loaded again when these change."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from salus.client.messages import GuardCard
from salus.errors import BundleError, OptionError, SalusError
from salus.guard import Guard
from salus.jobs.judging import open_guard
from salus.serve.marks import mark_of
from salus.serve.media import media_types

#: What a guard may be called: it stands in addresses and in the log.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, eq=False)
class LoadedGuard:
    """A guard as it was loaded.

    Attributes:
        name: how it is called.
        folder: of its bundle.
        guard: who judges.
        fingerprint: SHA-256 of the guard and of how its inputs are prepared.
        loaded: when, in seconds since 1970.
        fault: why the bundle that lies there now is not the one that judges; None where it is.
        copy: of the folder, on another machine than its own; None where it was loaded from the folder itself.
    """

    name: str
    folder: Path
    guard: Guard
    fingerprint: str
    loaded: float
    fault: str | None = None
    copy: Path | None = None

    @property
    def files(self) -> Path:
        """Where this machine has its files."""
        return self.folder if self.copy is None else self.copy

    @cached_property
    def card(self) -> GuardCard:
        """What it is, for those who ask it."""
        guard, classifier = self.guard, self.guard.classifier
        described = guard.describe()
        preprocessor = classifier.preprocessor
        return GuardCard(
            name=self.name,
            bundle=self.fingerprint,
            classes=list(classifier.classes),
            shape=list(classifier.shape),
            bounds=classifier.bounds,
            takes="prepared arrays" if preprocessor is None else f"{preprocessor.takes}: {preprocessor.describe()}",
            content_types=list(media_types(preprocessor)),
            detectors=[str(detector["name"]) for detector in described["detectors"]],
            purifier=described["purifier"],
            false_alarm_rate=guard.false_alarm_rate,
        )


@dataclass(frozen=True)
class GuardSource:
    """Where a guard comes from.

    Attributes:
        name: how it is called.
        folder: of its bundle.
        factory: ``package.module:function``, for a bundle around a model of one's own.
    """

    name: str
    folder: Path
    factory: str | None = None

    def load(self, device: str) -> LoadedGuard:
        """Load the bundle, checking all of it.

        Raises:
            BundleError: it cannot be used.
        """
        return self.load_from(None, device)

    def load_from(self, copy: Path | None, device: str) -> LoadedGuard:
        """Load it from a copy of its folder, or None: from the folder itself.

        Raises:
            BundleError: it cannot be used.
        """
        guard = open_guard(copy or self.folder, self.factory)
        guard.classifier.to(device)
        guard.hold()
        return LoadedGuard(self.name, self.folder, guard, fingerprint_of(guard), time.time(), copy=copy)

    def mark(self) -> str | None:
        """Tell apart two states of the bundle; None where nobody can look at it now."""
        return mark_of(self.folder)


def sources_of(words: Sequence[str], factory: str | None = None) -> tuple[GuardSource, ...]:
    """Read ``BUNDLE`` and ``NAME=BUNDLE``.

    Raises:
        OptionError: a name is none or is given twice, or a folder holds several guards.
    """
    sources: dict[str, GuardSource] = {}
    for word in words:
        name, mark, path = word.partition("=")
        folder = Path(path if mark else word)
        if not mark:
            name = folder.resolve().name
        if not _NAME.fullmatch(name):
            raise OptionError(
                f"A guard cannot be called {name!r}: names are letters, digits, dots, dashes and underscores, and "
                f"begin with a letter or digit; give one, NAME={folder}."
            )
        if name in sources:
            raise OptionError(
                f"Two guards would be called {name!r}, {sources[name].folder} and {folder}; give one a name of its "
                "own, NAME=BUNDLE."
            )
        sources[name] = GuardSource(name, bundle_in(folder), factory)
    return tuple(sources.values())


def bundle_in(folder: Path) -> Path:
    """Find the bundle in a folder: itself, or the guard of the audit that wrote it.

    Raises:
        OptionError: the audit had several guards.
    """
    if (folder / "guard.json").exists() or not (folder / "results.json").exists():
        return folder
    guards = sorted(path.parent for path in folder.glob("guards/*/guard.json"))
    if len(guards) > 1:
        raise OptionError(
            f"The audit in {folder} had {len(guards)} guards; name the one to serve: "
            f"{', '.join(str(guard) for guard in guards)}."
        )
    return guards[0] if guards else folder


def fingerprint_of(guard: Guard) -> str:
    """SHA-256 of a guard and of how its inputs are prepared: equal when two judge raw inputs the same."""
    preprocessor = guard.preprocessor
    parts = [guard.fingerprint(), None if preprocessor is None else preprocessor.fingerprint()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Shelf(Mapping[str, LoadedGuard]):
    """The guards by name; a bundle that changes is taken once it has stopped changing and loads without a fault.

    Args:
        sources: where they come from.
        device: where their networks run.

    Raises:
        BundleError: one of them cannot be used.
    """

    def __init__(self, sources: Sequence[GuardSource], device: str = "cpu") -> None:
        self._sources = {source.name: source for source in sources}
        self._device = device
        self._marks = {source.name: source.mark() for source in sources}
        self._changing: dict[str, str] = {}
        self._served = {source.name: source.load(device) for source in sources}

    def __getitem__(self, name: str) -> LoadedGuard:
        return self._served[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)

    def changed(self) -> list[str]:
        """Name the bundles that differ from what was looked at last, and have lain still since the call before."""
        settled = []
        for name, source in self._sources.items():
            mark = source.mark()
            if mark is None or mark == self._marks[name]:
                self._changing.pop(name, None)
            elif self._changing.get(name) == mark:
                settled.append(name)
            else:
                self._changing[name] = mark
        return settled

    def reload(self, name: str) -> LoadedGuard:
        """Load a bundle again; on a fault the old one goes on judging, and says so.

        Raises:
            BundleError: the bundle cannot be used.
        """
        source, before = self._sources[name], self._served[name]
        self._marks[name] = source.mark()
        self._changing.pop(name, None)
        try:
            loaded = source.load(self._device)
            _refuse_other_interface(before, loaded)
        except Exception as error:  # what a damaged file leads a library to raise
            fault = error if isinstance(error, SalusError) else _unloadable(source, error)
            self._served[name] = replace(before, fault=str(fault))
            raise fault from error
        same = loaded.fingerprint == before.fingerprint
        self._served[name] = replace(before, fault=None) if same else loaded
        return self._served[name]


def _unloadable(source: GuardSource, error: Exception) -> BundleError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return BundleError(f"The bundle in {source.folder} cannot be loaded ({reason}); take a fresh copy of the folder.")


def _refuse_other_interface(before: LoadedGuard, after: LoadedGuard) -> None:
    """Refuse a bundle that answers another question: who calls it relies on its classes and its inputs.

    Raises:
        BundleError: its classes or its inputs are others.
    """
    for what in ("classes", "shape", "bounds"):
        old, new = getattr(before.card, what), getattr(after.card, what)
        if old != new:
            raise BundleError(
                f"The bundle in {after.folder} has the {what} {new}, and the guard {before.name!r} that is served has "
                f"{old}; serve it under a name of its own."
            )
