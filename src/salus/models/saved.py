"""A classifier in a folder: ``model.safetensors`` and ``model.json``, every part checked when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from salus import atomic
from salus.errors import BundleError, SalusError
from salus.models.exported import read_program
from salus.models.factories import call_factory
from salus.models.foreign import form_named
from salus.models.probabilities import LogOfProbabilities
from salus.models.reading import Inputs, read_with
from salus.models.registry import MODELS, build_model
from salus.models.user import inputs_of, read_of, rebuilt, rebuilt_network
from salus.models.weights import misfit
from salus.preprocessing import Preprocessor
from salus.preprocessing.saved import saved_preprocessor

FORMAT = "salus-classifier"
VERSION = 1

#: What the parts of ``model.json`` must be.
FIELDS = {"name": str, "classes": list, "bounds": list, "shape": list, "notes": list, "sha256": str}


@dataclass(frozen=True, eq=False)
class SavedModel:
    """What a folder held: what ``model.json`` says, the module with its weights, its program if it is one."""

    card: Mapping[str, Any]
    module: nn.Module
    program: bytes | None
    preprocessor: Preprocessor | None = None


def write(folder: Path, card: Mapping[str, Any], module: nn.Module, program: bytes | None) -> None:
    """Write a model; ``model.json`` last, so that a half-written model is never taken for a whole one."""
    weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    content = safetensors.torch.save({name: value.cpu().contiguous() for name, value in weights.items()})
    hashes = {"sha256": _sha256(content)}
    atomic.write_bytes(folder / "model.safetensors", content)
    if program is not None:
        atomic.write_bytes(folder / program_name(card["architecture"] or {}), program)
        hashes["program_sha256"] = _sha256(program)
    atomic.write_json(folder / "model.json", {"format": FORMAT, "version": VERSION, **card, **hashes})


def read(folder: Path, factory: str | None) -> SavedModel:
    """Read what :func:`write` wrote; the code that a file names is never imported.

    Raises:
        BundleError: something is missing, damaged, changed, or of another format.
        ModelError: the factory cannot be called.
    """
    card = read_card(folder / "model.json")
    content = _read_part(folder / "model.safetensors", card["sha256"])
    try:
        weights: dict[str, Tensor] = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"{folder / 'model.safetensors'} holds no safetensors: {error}.") from error
    _refuse_misfit(folder, card, weights)
    preprocessor = saved_preprocessor(folder, card.get("preprocessor"))
    module, program = _build(folder, card, factory, preprocessor)
    if reason := misfit(module, weights):
        raise BundleError(f"The weights in {folder} do not fit the model: {reason}")
    module.load_state_dict(weights, strict=True)
    return SavedModel(card, module, program, preprocessor)


def program_name(architecture: Mapping[str, Any]) -> str:
    """Name the file of a model that came in one of its own.

    Raises:
        ModelError: no form of that name is known.
    """
    if "form" not in architecture:
        return "model.pt2"
    return f"model{form_named(str(architecture['form'])).suffix}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_part(path: Path, sha256: object) -> bytes:
    """Read one file of a saved model and check that it is the one that was saved."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); save the model again.") from error
    if _sha256(content) != sha256:
        raise BundleError(
            f"{path} is not the file that was saved: its SHA-256 is not the one in model.json. "
            "It is truncated or was changed; take a fresh copy of the folder, or save the model again."
        )
    return content


def read_card(path: Path) -> dict[str, Any]:
    """Read ``model.json`` and check its form.

    Raises:
        BundleError: it is missing, damaged, or of another form.
    """
    try:
        card = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(
            f"There is no saved model in {path.parent}: model.json cannot be read ({error.strerror})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: it is damaged; take a fresh copy of the folder.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BundleError(f"{path} does not describe a Salus classifier (it has no format {FORMAT!r}).")
    if card.get("version") != VERSION:
        raise BundleError(f"{path} has version {card.get('version')!r}; this Salus reads version {VERSION}.")
    for key, kind in FIELDS.items():
        if not isinstance(card.get(key), kind):
            raise BundleError(f"{path}: {key!r} must be a {kind.__name__}, not {card.get(key)!r}.")
    bounds = card["bounds"]
    if not (len(bounds) == 2 and all(type(v) in (int, float) for v in bounds) and bounds[0] < bounds[1]):
        raise BundleError(f"{path}: 'bounds' must be two numbers, the lower first, not {bounds!r}.")
    if not card["shape"] or not all(type(size) is int and size > 0 for size in card["shape"]):
        raise BundleError(f"{path}: 'shape' must hold positive whole numbers, not {card['shape']!r}.")
    for key in ("classes", "notes"):
        if not all(isinstance(word, str) for word in card[key]):
            raise BundleError(f"{path}: {key!r} must hold words, not {card[key]!r}.")
    if len(card["classes"]) < 2:
        raise BundleError(f"{path}: 'classes' must name two classes or more, not {card['classes']!r}.")
    if not isinstance(card.get("architecture"), (dict, type(None))):
        raise BundleError(f"{path}: 'architecture' must be an object or null.")
    return card


def _refuse_misfit(folder: Path, card: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse one of Salus's own networks that the weights do not fill, before it is given memory."""
    architecture = card["architecture"] or {}
    if str(architecture.get("name")) not in MODELS.own:
        return  # another's may not be built without memory
    try:
        with torch.device("meta"):
            module, _ = _build(folder, card, None)
    except SalusError:
        raise
    except Exception as error:  # a size that is none fails in many ways
        raise BundleError(f"{folder / 'model.json'}: the architecture will not do: {error}.") from error
    if reason := misfit(module, weights):
        raise BundleError(f"The weights in {folder} do not fit the model: {reason}")


def _build(
    folder: Path, card: Mapping[str, Any], factory: str | None, preprocessor: Preprocessor | None = None
) -> tuple[nn.Module, bytes | None]:
    """Build the module that ``model.json`` describes, and hand back its program if it is one."""
    architecture = card["architecture"] or {}
    program = None
    if "name" in architecture:
        options = architecture.get("options", {})
        try:
            module = build_model(str(architecture["name"]), card["shape"], len(card["classes"]), options)
        except SalusError as error:
            raise BundleError(f"{folder / 'model.json'}: the architecture will not do: {error}") from error
    elif "program" in architecture:
        content = _read_part(folder / "model.pt2", card.get("program_sha256"))
        module, program = read_program(content, str(folder / "model.pt2"))
    elif "form" in architecture:
        module, program = _of_form(folder, card, architecture, preprocessor)
    elif "library" in architecture:
        try:
            module = rebuilt_network(architecture, _inputs(card, architecture, preprocessor), str(folder))
        except SalusError as error:
            raise BundleError(f"The model in {folder} cannot be made again: {error}") from error
    elif factory is not None:
        module = call_factory(factory)
    else:
        hint = f" ({architecture['factory']!r})" if "factory" in architecture else ""
        raise BundleError(
            f"The model in {folder} was built by the user's own code{hint}, and Salus imports no code "
            "because a file names it; say which function builds it: factory='package.module:function'."
        )
    if "reading" in architecture:
        try:
            module = read_with(module, read_of(architecture), _inputs(card, architecture, preprocessor))
        except SalusError as error:
            raise BundleError(f"{folder / 'model.json'}: {error}") from error
    return (LogOfProbabilities(module) if architecture.get("outputs") == "probabilities" else module), program


def _of_form(
    folder: Path, card: Mapping[str, Any], architecture: Mapping[str, Any], preprocessor: Preprocessor | None
) -> tuple[nn.Module, bytes]:
    """Make the module of a model that came in another form, from its file."""
    try:
        path = folder / program_name(architecture)
        content = _read_part(path, card.get("program_sha256"))
        return rebuilt(architecture, content, _inputs(card, architecture, preprocessor), str(path)), content
    except BundleError:
        raise
    except SalusError as error:
        raise BundleError(f"The model in {folder} cannot be made again: {error}") from error


def _inputs(card: Mapping[str, Any], architecture: Mapping[str, Any], preprocessor: Preprocessor | None) -> Inputs:
    low, high = card["bounds"]
    known = Inputs(tuple(card["shape"]), (low, high), tuple(card["classes"]), preprocessor)
    return inputs_of(architecture, known)
