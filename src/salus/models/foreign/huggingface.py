"""Image classifiers of Hugging Face's in a folder: configuration, safetensors, preprocessing; no code from it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from salus.errors import ModelError
from salus.models.foreign.form import library, one_sentence
from salus.models.foreign.libraries import ImageTreatment

#: Pillow's numbers of interpolations.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}

#: From this side on, images of a configuration with ``crop_pct`` are scaled whatever their form, and not cropped.
_SQUASHED_FROM = 384

#: What an image is divided by before mean and std, where its configuration does not say otherwise.
_LEVELS = 1 / 255


@dataclass(frozen=True, eq=False)
class HuggingFaceFolder:
    """What a folder says.

    Attributes:
        path: the folder.
        config: of the network.
        treatment: how images are made; None where it does not say.
        weights: its file of weights.
    """

    path: Path
    config: Mapping[str, Any]
    treatment: ImageTreatment | None
    weights: Path

    @property
    def labels(self) -> list[str]:
        """Names of its classes, in the order of its logits."""
        named = self.config.get("id2label") or {}
        return [str(named[key]) for key in sorted(named, key=int)]

    @property
    def several(self) -> bool:
        """Whether a sample may carry several labels at once."""
        return self.config.get("problem_type") == "multi_label_classification"


def read_folder(path: Path) -> HuggingFaceFolder:
    """Read what a folder says, and nothing that could run code.

    Raises:
        ModelError: it is none, or lacks a part.
    """
    config = _json(path / "config.json")
    if config is None:
        raise ModelError(f"{path} is no folder of Hugging Face's: config.json is missing.")
    if config.get("auto_map") or "model_type" not in config:
        raise ModelError(
            f"{path} is built by code of its own (auto_map in config.json), which Salus does not run; build it by a "
            "function of yours: --model package.module:function."
        )
    weights = path / "model.safetensors"
    if not weights.is_file():
        others = [name for name in ("pytorch_model.bin", "model.safetensors.index.json") if (path / name).is_file()]
        has = f" (it has {others[0]})" if others else ""
        raise ModelError(
            f"{path} lacks model.safetensors{has}; save it anew as one file: model.save_pretrained(FOLDER)."
        )
    return HuggingFaceFolder(path, config, _treatment(_json(path / "preprocessor_config.json")), weights)


def build_network(config: Mapping[str, Any], place: str) -> nn.Module:
    """Build an image classifier of transformers' own from its configuration, with random weights.

    Raises:
        ModelError: it is none.
    """
    transformers = library("transformers", "transformers", "hf:FOLDER")

    def build() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
            made = transformers.AutoConfig.for_model(str(config["model_type"]), **settings)
            return transformers.AutoModelForImageClassification.from_config(made, trust_remote_code=False)

    module = one_sentence(place, "an image classifier of transformers'", build)
    if not isinstance(module, nn.Module):
        raise ModelError(f"{place} is no network.")
    return module


def load_network(folder: HuggingFaceFolder) -> nn.Module:
    """Load the network of a folder with its weights, from safetensors alone.

    Raises:
        ModelError: it cannot be loaded, or its weights are not all there.
    """
    transformers = library("transformers", "transformers", "hf:FOLDER")
    place = str(folder.path)

    def load() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformers.utils.logging.disable_progress_bar()
            return transformers.AutoModelForImageClassification.from_pretrained(
                place,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype="float32",
                output_loading_info=True,
            )

    module, found = one_sentence(place, "an image classifier of transformers'", load)
    lacking = sorted(map(str, found["missing_keys"]))
    if lacking or found["mismatched_keys"]:
        what = repr(lacking[0]) if lacking else f"another shape of {sorted(map(str, found['mismatched_keys']))[0]}"
        raise ModelError(
            f"The weights in {folder.weights} do not fit the model: it needs {what} ({len(lacking)} missing); its last "
            "layer was perhaps never trained for these classes."
        )
    if not isinstance(module, nn.Module):
        raise ModelError(f"{place} is no network.")
    return module.eval()


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no readable JSON; take a fresh copy.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no settings; take a fresh copy.")
    return content


def _treatment(config: dict[str, Any] | None) -> ImageTreatment | None:
    if config is None:
        return None
    try:
        pixels, how = _scaled(config)
        normalised = bool(config.get("do_normalize", True))
        factor = float(config.get("rescale_factor", _LEVELS)) if config.get("do_rescale", True) else 1.0
        # mean and std are of levels times the factor; x is levels of 0 to 1
        scale = 255 * factor
        mean = tuple(float(v) / scale for v in config.get("image_mean") or ()) if normalised else ()
        std = tuple(float(v) / scale for v in config.get("image_std") or ()) if normalised else ()
        if not normalised and scale != 1:
            std = (1 / scale,)
        resample = int(config.get("resample", 2))
        if resample not in _RESAMPLE:
            raise ValueError(f"resample is {resample}, and must be one of {', '.join(map(str, _RESAMPLE))}")
        return ImageTreatment(mean, std, pixels, interpolation=_RESAMPLE[resample], **how)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"How images are made (preprocessor_config.json) cannot be read: {error}.") from error


def _scaled(config: dict[str, Any]) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """Read to which size images are scaled, and what is kept of them."""
    resized, cropped = bool(config.get("do_resize", True)), bool(config.get("do_center_crop"))
    size, crop = (_sides(config.get(key)) for key in ("size", "crop_size"))
    edge = size.get("shortest_edge")
    if edge is not None and config.get("crop_pct") and not cropped:  # as ConvNeXt has it
        side, wide = int(edge), int(edge) >= _SQUASHED_FROM
        scaled = side if wide else int(side / float(config["crop_pct"]))
        return (side, side), {"mode": "squash" if wide else "centre", "scaled": (scaled, scaled), "floor": True}
    whole = None if edge is None else (int(edge), int(edge))
    if edge is None and {"height", "width"} <= size.keys():
        whole = (int(size["height"]), int(size["width"]))
    if cropped and crop and resized and whole is not None:
        kept = (int(crop["height"]), int(crop["width"]))
        return kept, {"mode": "squash" if edge is None else "centre", "scaled": whole, "floor": True}
    if resized and whole is not None and edge is None:
        return whole, {"mode": "squash", "scaled": whole, "floor": True}
    pixels = (int(crop["height"]), int(crop["width"])) if cropped and crop else whole
    why = "scales images by their shorter side and keeps all of the longer" if resized else "does not scale images"
    return pixels, {"mode": "cover", "unframed": why if pixels is not None else ""}


def _sides(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"height": value, "width": value}
    return dict(value or {})
