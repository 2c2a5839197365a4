"""Images in the form of MedMNIST (Yang et al., 2023): train, val and test in one ``.npz`` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.base import Provenance, Splits
from salus.data.labels import encode_array
from salus.data.options import LoadOptions
from salus.data.pixels import APART, Images, Pixels, assemble_images
from salus.data.published import file_sha256
from salus.data.sides import SIDES, Sided
from salus.data.split import Indices
from salus.data.unread import tell_unread
from salus.errors import DataError

Arrays = Mapping[str, NDArray[Any]]


def is_medmnist(arrays: Arrays) -> bool:
    """Tell by the names of its arrays whether a file has this form."""
    return any(f"{side}_images" in arrays for side in SIDES)


def load_medmnist(arrays: Arrays, options: LoadOptions) -> Splits:
    """Load images ``[N, C, H, W]`` from ``train_images``, ``train_labels`` and so on; val is halved by class.

    Images are bytes ``[N, H, W]`` (grey) or ``[N, H, W, 3]``, labels ``[N, 1]``; classes are called by their numbers.

    Raises:
        DataError: an array is missing or of another shape, as of volumes and of several labels an image.
    """
    path = Path(options.name)
    options.refuse_others({"positive"}, "an .npz file of images as MedMNIST has them")
    unread = tell_unread(arrays, {f"{side}_{kind}" for side in SIDES for kind in ("images", "labels")}, options)
    pairs = [_side(arrays, side, path) for side in SIDES]
    if len({x.shape[1:] for x, _ in pairs}) > 1:
        shapes = ", ".join(f"{side} {list(x.shape[1:])}" for side, (x, _) in zip(SIDES, pairs, strict=True))
        raise DataError(f"File {path}: images differ in shape between the parts: {shapes}.")
    y, classes = encode_array(np.concatenate([labels for _, labels in pairs]), name=path.name)
    sides = [side for side, (x, _) in zip(SIDES, pairs, strict=True) for _ in range(len(x))]
    lacking = [name for index, name in enumerate(classes) if not bool((y[: len(pairs[0][0])] == index).any())]
    if lacking:
        raise DataError(f"File {path}: train_labels has no image of class {lacking[0]}, which val or test has.")
    images = Images(
        x=np.concatenate([x for x, _ in pairs]),
        y=y,
        classes=classes,
        positive=options.positive,
        names=tuple(f"{side}_images[{i}]" for side, (x, _) in zip(SIDES, pairs, strict=True) for i in range(len(x))),
        provenance=Provenance(
            name=path.stem,
            source=path.name,
            checksum=file_sha256(path),
            notes=("images count as independent: of which patients they are is not known", *unread),
        ),
    )
    sided = Sided(y=y, classes=classes, sides=sides, groups=None, name=path.stem, remedy="")
    parts, words = sided.deal(APART, seed=options.seed)
    return assemble_images(replace(images, provenance=replace(images.provenance, split=words)), parts, options)


def _side(arrays: Arrays, side: str, path: Path) -> tuple[Pixels, Indices]:
    """Images ``[n, C, H, W]`` and labels ``[n]`` of one part."""
    for name in (f"{side}_images", f"{side}_labels"):
        if name not in arrays:
            raise DataError(f"File {path} has no {name}; a file as MedMNIST has them holds train, val and test.")
    x, y = arrays[f"{side}_images"], arrays[f"{side}_labels"]
    grey, colour = x.ndim == 3, x.ndim == 4 and x.shape[3] == 3
    if x.dtype != np.uint8 or not (grey or colour) or not x.size:
        raise DataError(
            f"File {path}: {side}_images is {x.dtype} {list(x.shape)}; Salus reads images, uint8 [N, H, W] or "
            "[N, H, W, 3], no volumes."
        )
    if y.shape == (len(x), 1):
        y = y[:, 0]
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise DataError(
            f"File {path}: {side}_labels is {y.dtype} {list(y.shape)} for {len(x)} images; Salus reads one class an "
            "image, not several."
        )
    return np.ascontiguousarray(x[:, None] if grey else x.transpose(0, 3, 1, 2)), y.astype(np.int64)
