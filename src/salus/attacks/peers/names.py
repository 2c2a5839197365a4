"""Other libraries' attacks by name: ``art:HopSkipJump:max_iter=10`` becomes a class of its own."""

from __future__ import annotations

import functools
import inspect
from dataclasses import field, fields, make_dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

from salus.attacks.ball import NormName
from salus.attacks.peers.adapter import WORDS, PeerAttack
from salus.errors import OptionError, nearest
from salus.options import split_spec

#: Library -> the adapter's class.
LIBRARIES = {
    "art": "ArtAttack",
    "foolbox": "FoolboxAttack",
    "torchattacks": "TorchattacksAttack",
}

_NORMS = {"2": "l2", "inf": "linf"}
#: Many a default is written as 1 and means 1.0, so that whole numbers are checked by the adapter.
_TYPES: dict[type, Any] = {bool: bool, int: Any, float: float, str: str}
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
        ("norm", NormName, field(default=facts["norms"][0])),
        *(_field(parameter) for parameter in own),
        *((word, (float if word == "step_size" else int) | None, field(default=None)) for word in words),
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
        "__doc__": f"{theirs.__module__}.{theirs.__qualname__} behind :class:`PeerAttack`.",
    }
    return make_dataclass(name, options, bases=(adapter,), namespace=space, frozen=True, kw_only=True)


def _is_option(parameter: inspect.Parameter, adapter: type[PeerAttack]) -> bool:
    """Tell what a user may set: not the model, nothing that is a field of ours, no objects."""
    if parameter.name in {each.name for each in fields(adapter)} | _LEFT_OUT:
        return False
    default = parameter.default
    return default is parameter.empty or default is None or type(default) in _TYPES


def _field(parameter: inspect.Parameter) -> tuple[Any, ...]:
    if parameter.default is parameter.empty:
        return parameter.name, Any
    return parameter.name, _TYPES.get(type(parameter.default), Any), field(default=parameter.default)
