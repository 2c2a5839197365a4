"""Things found by name: Salus's own, and those that other installed packages bring by entry points."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from salus.errors import OptionError, nearest
from salus.options import Option, build, option_names, options_of, split_spec

T = TypeVar("T")


class PluginWarning(UserWarning):
    """A package brought something that Salus cannot use, and does without."""


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by name.

    Other packages add to it by entry points of a group, ``salus.attacks`` say, whose names are those that users write.
    They are looked for when the registry is first read, and imported then. One that cannot be imported, is of another
    kind, or takes a name that Salus has already, is left out with a warning that names it. A name that two packages
    bring is neither's: whoever asks for it is told both.

    Args:
        kind: what one of them is called in sentences, ``attack``.
        group: the group of entry points.
        own: Salus's own, by name, or what imports them when they are first asked for.
        suits: says of what an entry point holds what is wrong with it, or nothing.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        own: Mapping[str, T] | Callable[[], Mapping[str, T]],
        suits: Callable[[Any], str | None] | type[Any],
    ) -> None:
        self.kind, self.group, self._own = kind, group, own
        self._suits = _subclass_of(suits) if inspect.isclass(suits) else suits

    @cached_property
    def own(self) -> Mapping[str, T]:
        """Salus's own, by name."""
        return dict(self._own() if callable(self._own) else self._own)

    def __getitem__(self, name: str) -> T:
        return self.own[name] if name in self.own else self._plugins[name][0]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._plugins

    def __len__(self) -> int:
        return len(self.own) + len(self._plugins)

    def find(self, name: str, others: Iterable[str] = ()) -> T:
        """Return what has this name.

        Args:
            name: as users write it.
            others: names that would also have done, to be offered where nothing has this one.

        Raises:
            OptionError: nothing has it (the nearest names are given), or two packages claim it.
        """
        if name in self:
            return self[name]
        if name in self._claimed_twice:
            packages = " and ".join(self._claimed_twice[name])
            raise OptionError(f"The {self.kind} {name!r} is brought by {packages}; uninstall one of them.")
        raise OptionError(f"Unknown {self.kind} {name!r}; {nearest(name, [*self, *others])}")

    def origin(self, name: str) -> str:
        """Say whose it is: ``salus``, or the package that brings it and its version."""
        return "salus" if name in self.own else self._plugins[name][1]

    def split(self, spec: str) -> tuple[str, dict[str, Any]]:
        """Split ``name:key=value,key=value`` into the name and its options.

        Raises:
            OptionError: a part is not ``key=value``.
        """
        return split_spec(spec, self.kind)

    def options(self, name: str) -> tuple[Option, ...]:
        """List its options."""
        return options_of(self.find(name))

    def build(self, name: str, options: Mapping[str, Any], **defaults: Any) -> Any:
        """Make one from options; ``defaults`` hold where it has them and the options are silent.

        Raises:
            OptionError: it or an option is unknown (the nearest names are given), or a value makes no sense.
        """
        cls: Any = self.find(name)
        known = option_names(cls)
        spelt = {key.replace("-", "_"): value for key, value in options.items()}
        usual = {key: value for key, value in defaults.items() if key in known and key not in spelt}
        return build(cls, {**usual, **options}, f"{self.kind} {name!r}")

    def parse(self, spec: str, **defaults: Any) -> Any:
        """Make one from ``name:key=value,key=value``; see :meth:`build`."""
        name, options = self.split(spec)
        return self.build(name, options, **defaults)

    @cached_property
    def _loaded(self) -> tuple[dict[str, tuple[T, str]], dict[str, list[str]]]:
        points: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            points.setdefault(point.name, []).append(point)
        plugins: dict[str, tuple[T, str]] = {}
        claimed: dict[str, list[str]] = {}
        for name, claims in sorted(points.items()):
            packages = sorted({_package(point) for point in claims})
            if name in self.own:
                _warn(
                    f"{' and '.join(packages)} would bring the {self.kind} {name!r}, which Salus has; it is left out."
                )
            elif len(packages) > 1:
                claimed[name] = packages
                _warn(f"{' and '.join(packages)} both bring the {self.kind} {name!r}; neither is used.")
            else:
                thing = self._load(claims[0], packages[0])
                if thing is not None:
                    plugins[name] = (thing, packages[0])
        return plugins, claimed

    def _load(self, point: EntryPoint, package: str) -> T | None:
        which = f"The {self.kind} {point.name!r} of {package}"
        try:
            thing = point.load()
        except Exception as error:  # whatever somebody else's module raises when it is imported
            _warn(f"{which} cannot be imported and is left out: {type(error).__name__}: {error}")
            return None
        wrong = self._suits(thing)
        if wrong is None and getattr(thing, "name", point.name) != point.name:
            wrong = f"calls itself {thing.name!r}"
        if wrong is not None:
            _warn(f"{which} is left out: {point.value} {wrong}.")
            return None
        loaded: T = thing
        return loaded

    @property
    def _plugins(self) -> dict[str, tuple[T, str]]:
        return self._loaded[0]

    @property
    def _claimed_twice(self) -> dict[str, list[str]]:
        return self._loaded[1]


def plugin_names(group: str) -> dict[str, str]:
    """Name what other packages bring to a group, and the packages, without importing anything."""
    return {point.name: _package(point) for point in entry_points(group=group)}


def summary(thing: Any) -> str:
    """Return the first line of its docstring, or the ``summary`` that it has."""
    line = getattr(thing, "summary", None) or (inspect.getdoc(thing) or "").partition("\n")[0]
    return str(line).replace("``", "")


def _subclass_of(base: type[Any]) -> Callable[[Any], str | None]:
    def suits(thing: Any) -> str | None:
        fits = inspect.isclass(thing) and issubclass(thing, base) and not inspect.isabstract(thing)
        return None if fits else f"is no class derived from {base.__module__}.{base.__name__}"

    return suits


def _package(point: EntryPoint) -> str:
    return "a package without a name" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _warn(sentence: str) -> None:
    warnings.warn(sentence, PluginWarning, stacklevel=2)
