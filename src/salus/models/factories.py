"""Modules that a user's own function builds."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from salus.errors import ModelError, nearest
from salus.models.torchvision_ops import load_torchvision


def call_factory(spec: str) -> nn.Module:
    """Import ``package.module:function`` and call the function; the working directory counts as importable.

    Raises:
        ModelError: it cannot be imported, is no function, fails, or returns no ``nn.Module``.
    """
    place, colon, name = spec.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in place.split("."))):
        raise ModelError(f"Model {spec!r}: write package.module:function, the function that builds the module.")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as python -m does
    if find_spec("torchvision") is not None:
        with suppress(ModelError):  # the user's module may not need it
            load_torchvision()  # repaired where it has to be, before the user's module imports it
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"Model {spec!r}: importing {place} failed with {type(error).__name__}: {error}. "
            "It must be importable from the working directory or the environment."
        ) from error
    if not hasattr(module, name):
        names = [word for word, value in vars(module).items() if callable(value) and not word.startswith("_")]
        raise ModelError(f"Model {spec!r}: {place} has no {name!r}; {nearest(name, names)}")
    factory = getattr(module, name)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ModelError(
            f"Model {spec!r} is a {type(factory).__name__}, not a function; "
            "give a function without arguments that returns the module."
        )
    try:
        built = factory()
    except (Exception, SystemExit) as error:
        raise ModelError(f"Model {spec!r}: calling it failed with {type(error).__name__}: {error}.") from error
    if not isinstance(built, nn.Module):
        raise ModelError(f"Model {spec!r} returned a {type(built).__name__}, not a torch.nn.Module.")
    return built
