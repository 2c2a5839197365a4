"""Modules that a user's own function builds, and weights that a user brings; no pickle is ever executed."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

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


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the weights of a file into a module.

    Raises:
        ModelError: the file cannot be read, needs code to be read, or does not fit.
    """
    weights = fitting(module, read_weights(path))
    if reason := misfit(module, weights):
        raise ModelError(f"The weights in {path} do not fit the model: {reason}")
    module.load_state_dict(weights, strict=True)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read ``.safetensors``, or a ``.pt`` or ``.pth`` state dict of plain tensors.

    Raises:
        ModelError: the file cannot be read, or holds anything but tensors.
    """
    if not path.is_file():
        raise ModelError(f"There is no file of weights {path}.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelError(f"{path} holds no safetensors: {error}.") from error
    if path.suffix not in (".pt", ".pth"):
        raise ModelError(f"Weights {path}: the name must end in .safetensors, .pt or .pth.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # TorchScript archives: refused below
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds more than tensors, and reading the rest would run code from the file; "
            "save a state dict, torch.save(model.state_dict(), ...), or safetensors."
        ) from error
    except Exception as error:  # a damaged file fails in many ways
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(f"{path} cannot be read as a state dict: {reason or type(error).__name__}.") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise ModelError(f"{path} holds no state dict; save torch.save(model.state_dict(), ...).")
    return content


def fitting(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out weights that the module's class names as spare, and add counts of batches that old files lack."""
    spare: tuple[str, ...] = getattr(module, "spare_weights", ())
    counts = {name: value for name, value in module.state_dict().items() if name.endswith(".num_batches_tracked")}
    return {**counts, **{name: value for name, value in weights.items() if not name.startswith(spare)}}


def misfit(module: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Say in one sentence why weights do not fit a module; empty when they do."""
    needs = module.state_dict()
    lacking, spare = sorted(needs.keys() - weights.keys()), sorted(weights.keys() - needs.keys())
    if lacking:
        return f"the model needs {lacking[0]!r}, which they lack ({len(lacking)} of {len(needs)} missing)."
    if spare:
        return f"they hold {spare[0]!r}, which the model does not have ({len(spare)} of {len(weights)})."
    for name, value in needs.items():
        if isinstance(value, Tensor) and value.shape != weights[name].shape:
            return f"{name!r} has shape {list(weights[name].shape)}; the model needs {list(value.shape)}."
    return ""
