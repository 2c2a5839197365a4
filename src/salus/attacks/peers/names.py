"""Other libraries' attacks by name: ``art:HopSkipJump:max_iter=10`` becomes a class of its own."""

from __future__ import annotations

import functools
import inspect
from dataclasses import field, fields, make_dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import Field

from salus.attacks.peers.adapter import WORDS, PeerAttack
from salus.attacks.settings import Norm
from salus.errors import OptionError, nearest
from salus.options import Words, split_spec

#: Library -> the adapter's class.
LIBRARIES = {
    "art": "ArtAttack",
    "foolbox": "FoolboxAttack",
    "torchattacks": "TorchattacksAttack",
}

_NORMS = {"1": "l1", "2": "l2", "inf": "linf"}
#: What an option may be, by the type of its default: many a default is written as 1 and means 1.0.
_TYPES: dict[type, Any] = {bool: bool, int: Annotated[int | float, Words("a number")], float: float, str: str}
_WORD_TYPES: dict[str, Any] = {
    "steps": Annotated[int | None, Field(description="how many steps it takes; none for the library's own")],
    "step_size": Annotated[float | None, Field(description="length of a step in the units of x; none in ratio to eps")],
    "restarts": Annotated[int | None, Field(description="how many starts it takes; none for the library's own")],
}
#: The model, what the adapters set themselves, and what is pointless in an audit.
_LEFT_OUT = {"model", "classifier", "estimator", "distance", "n_classes", "summary_writer", "tensorboard", "verbose"}


def split_peer(spec: str) -> tuple[str, dict[str, Any]]:
    """Split ``art:HopSkipJump:max_iter=10,norm=2`` into ``art:HopSkipJump`` and its options.

    A comma may stand after the name too. Norms may be written as the libraries do.

    Raises:
        OptionError: a part is not ``key=value``.
    """
    library, _, rest = spec.partition(":")
    comma, colon = rest.find(","), rest.find(":")
    if comma >= 0 and (colon < 0 or comma < colon):
        rest = f"{rest[:comma]}:{rest[comma + 1 :]}"
    attack, options = split_spec(rest, "attack")
    if "norm" in options:
        norm = str(options["norm"]).lower().lstrip(".")
        options["norm"] = _NORMS.get(norm, norm)
    return f"{library.strip()}:{attack}", options


@functools.cache
def peer_class(name: str) -> type[PeerAttack]:
    """Make the class of ``library:attack``; importing the library may take seconds.

    Names may be written in any case and without the ending ``Attack`` or ``Method``.

    Raises:
        OptionError: there is no such attack, or the library is not installed.
    """
    library, _, attack = name.partition(":")
    if library not in LIBRARIES:
        raise OptionError(f"Unknown library {library!r} in attack {name!r}; {nearest(library, LIBRARIES)}")
    adapter: type[PeerAttack] = getattr(import_module(f"salus.attacks.peers.{library}"), LIBRARIES[library])
    catalogue = adapter.catalogue()
    by_ending = {
        key.lower().removesuffix(ending): key for ending in ("method", "attack", "") for key in sorted(catalogue)
    }
    key = attack if attack in catalogue else by_ending.get(attack.lower())
    if key is None:
        near = nearest(attack, catalogue)
        near = near if near.startswith("did") else f"it has {len(catalogue)}, such as {', '.join(adapter.examples)}."
        raise OptionError(f"Unknown attack {name!r}; {near}")
    return _adapter_class(adapter, f"{library}:{key}", catalogue[key])


@functools.cache
def _adapter_class(adapter: type[PeerAttack], name: str, theirs: Any) -> type[PeerAttack]:
    """Make a dataclass whose fields are ours and the constructor's options with the library's own defaults."""
    parameters = [
        parameter
        for parameter in list(inspect.signature(theirs.__init__).parameters.values())[1:]
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    takes = frozenset(parameter.name for parameter in parameters)
    facts = adapter.facts(theirs, takes)
    own = [parameter for parameter in parameters if _is_option(parameter, adapter)]
    words = [
        word
        for word, names in WORDS.items()
        if word not in takes and (takes & set(names) or word in adapter.extra_words)
    ]
    release = version(adapter.distribution)
    options: list[Any] = [
        ("norm", Norm, field(default=facts["norms"][0])),
        *(_field(parameter, adapter.library) for parameter in own),
        *((word, _WORD_TYPES[word], field(default=None)) for word in words),
        ("library_version", str, field(default=release, init=False)),
    ]
    space = {
        **facts,
        "name": name,
        "paper": f"{adapter.library} {release}",
        "theirs": theirs,
        "takes": takes,
        "own": frozenset(parameter.name for parameter in own),
        "defaults": {p.name: p.default for p in parameters if p.default is not p.empty},
        "__module__": adapter.__module__,
        "__reduce__": _reduced,
        "__doc__": f"{theirs.__module__}.{theirs.__qualname__} behind :class:`PeerAttack`.",
    }
    return make_dataclass(name, options, bases=(adapter,), namespace=space, frozen=True, kw_only=True)


def _is_option(parameter: inspect.Parameter, adapter: type[PeerAttack]) -> bool:
    """Tell what a user may set: not the model, nothing that is a field of ours, no objects."""
    if parameter.name in {each.name for each in fields(adapter)} | _LEFT_OUT:
        return False
    default = parameter.default
    return default is parameter.empty or default is None or type(default) in _TYPES


def _field(parameter: inspect.Parameter, library: str) -> tuple[Any, ...]:
    kind: Any = Annotated[_TYPES.get(type(parameter.default), Any), Field(description=f"as {library} has it")]
    if parameter.default is parameter.empty:
        return parameter.name, kind
    return parameter.name, kind, field(default=parameter.default)


def _reduced(attack: PeerAttack) -> tuple[Any, ...]:
    """Say how to copy an attack elsewhere: its class is made at run time, so it is made again from its name."""
    values = {each.name: getattr(attack, each.name) for each in fields(attack) if each.init}
    return _again, (attack.name, values)


def _again(name: str, values: dict[str, Any]) -> PeerAttack:
    return peer_class(name)(**values)
