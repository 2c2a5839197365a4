"""Which model a plan means: one of Salus's networks, one's own code or program, or a folder that Salus saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from salus.classifier import Classifier
from salus.data import Dataset
from salus.errors import BundleError, ModelError, OptionError, nearest
from salus.models import MODELS
from salus.options import parse_value, split_spec


@dataclass(frozen=True)
class ModelSpec:
    """What stands behind ``--model``.

    Attributes:
        text: as it was written.
        kind: a ``network`` to train, or what is used as it is: a ``factory``, a ``program``, or a ``folder``.
        name: of the network.
        options: of the network.
    """

    text: str
    kind: Literal["network", "factory", "program", "folder"]
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_model(text: str) -> ModelSpec:
    """Read ``ecg-cnn:widths=16+32,dropout=0.2``, ``package.module:factory``, ``FILE.pt2`` or a folder.

    A network's name goes before a folder's; ``./mlp`` is the folder.

    Raises:
        OptionError: it is none of these.
    """
    name, colon, rest = text.partition(":")
    if name in MODELS:
        options = split_spec(text, "model")[1]
        return ModelSpec(text, "network", name, {key.replace("-", "_"): several(v) for key, v in options.items()})
    if text.endswith(".pt2"):
        return ModelSpec(text, "program")
    if Path(text).is_dir():
        return ModelSpec(text, "folder")
    if colon and "=" not in rest:
        return ModelSpec(text, "factory")
    if Path(text).is_file():
        raise OptionError(f"Model {text!r} is a file; name the folder in which Salus saved it, with model.json inside.")
    if Path(text).name != text and not colon:
        raise OptionError(f"There is no folder {text!r} with a model that Salus saved.")
    raise OptionError(
        f"Unknown model {name!r}; {nearest(name, MODELS)} Your own: package.module:factory with --weights, "
        "a torch.export program FILE.pt2, or a folder that Salus saved."
    )


def several(value: Any) -> Any:
    """Read numbers joined by plus, ``16+32``, as a list."""
    if not isinstance(value, str) or "+" not in value:
        return value
    parts = [parse_value(part) for part in value.split("+")]
    return parts if all(type(part) in (int, float) for part in parts) else value


def saved_classifier(folder: Path, data: Dataset) -> Classifier:
    """Load the model that an audit, a guard or a hardening left in a folder, and check that it takes these data.

    Raises:
        BundleError: there is none, or it is damaged.
        ModelError: it takes samples of another shape, or within other bounds.
    """
    try:
        own = Classifier.load(folder)
    except BundleError as error:
        if "factory=" not in str(error):
            raise
        raise BundleError(
            f"The model in {folder} was built by code of your own, and Salus imports no code because a file names it; "
            f"name it yourself: --model package.module:factory --weights {folder / 'model.safetensors'}."
        ) from error
    name, shape = data.provenance.name, tuple(data.x.shape[1:])
    if own.shape != shape:
        raise ModelError(
            f"The model in {folder} takes samples of shape {list(own.shape)}, but those of {name!r} have {list(shape)}."
        )
    if own.bounds != data.bounds:
        raise ModelError(
            f"The model in {folder} takes values in {own.bounds}, but those of {name!r} lie in {data.bounds}; "
            "load the data as they were when it was trained (--bounds, --scale)."
        )
    return own


def dealt_otherwise(folder: Path, test: Dataset) -> tuple[str, ...]:
    """Warn when the folder says that its model was tested on other samples, so that these may have trained it."""
    for file in ("hardening.json", "results.json"):
        try:
            held = json.loads((folder / file).read_text(encoding="utf-8"))
            held = held.get("meta", held)
            trained, made = held["model"]["training"], held["data"]
            if trained is not None and made["fingerprint"] != test.fingerprint():
                return (
                    f"The model was trained beside other test samples (data {made['name']}) than these; some of these "
                    "may be among those it learnt.",
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a bundle, or a folder of which only the model was kept
    return ()
