"""One's own arrays in a ``.npz`` file: ``x`` and ``y``, or parts given apart, as Salus or MedMNIST names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.assemble import RawData, assemble, refuse_nonfinite
from salus.data.base import FeatureMarks, Provenance, Splits
from salus.data.labels import encode_array, encode_groups
from salus.data.medmnist import is_medmnist, load_medmnist
from salus.data.options import LoadOptions
from salus.data.published import file_sha256
from salus.data.split import SHARES, Indices, Parts, describe_shares, grouped, stratified
from salus.errors import DataError, nearest
from salus.preprocessing.things import as_given, read_npz

Arrays = Mapping[str, NDArray[Any]]

#: What training, validation and calibration share when the test part is given.
APART = {part: share / (1 - SHARES["test"]) for part, share in SHARES.items() if part != "test"}


def load_npz(options: LoadOptions) -> Splits:
    """Load ``x`` and ``y``, and what else the file says of them.

    Beside a model that scales its inputs, an array ``prepared`` says that x is scaled already.

    The file may also hold ``classes``, ``groups``, ``features``, ``immutable``, ``integer``, ``derived`` and
    ``positive``; an option of the same name goes before it. With ``x_train``, ``y_train``, ``x_test`` and
    ``y_test`` (and ``groups_train``, ``groups_test``) the test part stays as it was given. Files as MedMNIST has them
    (``train_images``, ``train_labels``, ...) are read by :func:`salus.data.medmnist.load_medmnist`.

    Raises:
        DataError: the file is none, holds Python objects, or its arrays do not fit together.
    """
    path = Path(options.name)
    arrays = read_npz(path)
    if is_medmnist(arrays):
        return load_medmnist(arrays, options)
    given = options.preprocessor
    apart = "x_train" in arrays or "x_test" in arrays
    sides = ("_train", "_test") if apart else ("",)
    xs = [_samples(arrays, f"x{side}", path) for side in sides]
    ys = [_labels(arrays, f"y{side}", len(x), path) for side, x in zip(sides, xs, strict=True)]
    groups = _groups(arrays, sides, [len(x) for x in xs], path)
    if len({x.shape[1:] for x in xs}) > 1:
        raise DataError(
            f"File {path}: samples of x_train and x_test differ in shape: "
            f"{list(xs[0].shape[1:])} and {list(xs[1].shape[1:])}."
        )
    for side, x in zip(sides, xs, strict=True):
        refuse_nonfinite(x, f"{path.name}{': x' + side if side else ''}")
    y, classes = encode_array(np.concatenate(ys), _strings(arrays, "classes", path), name=path.name)
    x = xs[0] if len(xs) == 1 else np.concatenate(xs)
    features, prepared = _strings(arrays, "features", path), False
    if given is not None:
        x, features, prepared = as_given(x, given, features, "prepared" in arrays, path)
    bounds = options.bounds or ((0.0, 1.0) if given is None else given.bounds)
    scaled = options.scale or (given is not None and not prepared)
    if x.dtype.kind in "iu" and not scaled and (x.min() < bounds[0] or x.max() > bounds[1]):
        raise DataError(
            f"File {path}: x holds whole numbers ({x.dtype}) from {x.min()} to {x.max()}, outside the bounds "
            f"({bounds[0]:g}, {bounds[1]:g}); scale them (--scale) or give their true bounds "
            "(--bounds LOW,HIGH)."
        )
    raw = RawData(
        x=x,
        y=y,
        classes=classes,
        groups=groups,
        bounds=bounds,
        positive=options.positive or _strings(arrays, "positive", path),
        features=features,
        marks=FeatureMarks(
            immutable=options.immutable or _strings(arrays, "immutable", path),
            integer=options.integer or _strings(arrays, "integer", path),
            derived=options.derived or _strings(arrays, "derived", path),
        ),
        names=tuple(f"x{side}[{row}]" for side, part in zip(sides, xs, strict=True) for row in range(len(part))),
        preprocessor=given,
        prepared=prepared,
        known_classes=options.known_classes,
        provenance=Provenance(
            name=path.stem,
            source=path.name,
            checksum=file_sha256(path),
            split=_split_words(options.seed, apart=apart, by_groups=groups is not None),
        ),
    )
    given_test = len(xs[1]) if apart else 0
    return assemble(raw, _deal(raw, given_test, options.seed), scale=options.scale)


def _deal(raw: RawData, given_test: int, seed: int) -> Parts:
    """Deal all rows, or only those before the given test part."""
    rows = len(raw.y) - given_test
    shares = APART if given_test else SHARES
    name = raw.provenance.name
    if raw.groups is None:
        parts = stratified(raw.y[:rows], raw.classes, shares, seed=seed, name=name)
    else:
        shared = np.intersect1d(raw.groups[:rows], raw.groups[rows:])
        if len(shared):
            raise DataError(
                f"Data {name!r}: {len(shared)} patient{'s' * (len(shared) > 1)} (the first is group {shared[0]}) "
                "are on both sides; give x, y and groups in one piece and let Salus split by patient."
            )
        parts = grouped(raw.y[:rows], raw.groups[:rows], raw.classes, shares, seed=seed, name=name)
    return {**parts, "test": np.arange(rows, len(raw.y))} if given_test else parts


def _split_words(seed: int, *, apart: bool, by_groups: bool) -> str:
    way = "by patient (groups)" if by_groups else "stratified by class"
    words = f"{way}, seed {seed}: {describe_shares(APART if apart else SHARES)}"
    return f"test part as given, the rest {words}" if apart else words


def _samples(arrays: Arrays, key: str, path: Path) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(f"File {path} has no samples {key!r}; {nearest(key, arrays)}")
    x = arrays[key]
    if x.dtype.kind not in "fiub":
        raise DataError(f"File {path}: {key} must hold numbers, not {x.dtype} values.")
    if x.ndim not in (2, 3, 4):
        raise DataError(
            f"File {path}: {key} has shape {list(x.shape)}; it must be [N, F] (table), [N, C, L] (signals) "
            "or [N, C, H, W] (images)."
        )
    if x.size == 0:
        raise DataError(f"File {path}: {key} has no samples (its shape is {list(x.shape)}).")
    return x


def _labels(arrays: Arrays, key: str, count: int, path: Path) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(f"File {path} has no labels: add an array {key!r} with one label per sample.")
    y = arrays[key]
    if y.ndim == 1 and len(y) != count:
        raise DataError(f"File {path}: {count} samples but {len(y)} labels in {key!r}; they must be as many.")
    return y


def _groups(arrays: Arrays, sides: tuple[str, ...], counts: list[int], path: Path) -> Indices | None:
    keys = [f"groups{side}" for side in sides]
    if not any(key in arrays for key in keys):
        return None
    words: list[str] = []
    for key, count in zip(keys, counts, strict=True):
        values = arrays.get(key)
        if values is None or values.shape != (count,) or values.dtype.kind not in "iuUS":
            raise DataError(f"File {path}: {key} must hold one patient per sample, {count} whole numbers or words.")
        words += [str(word.decode() if isinstance(word, bytes) else word) for word in values.tolist()]
    return encode_groups(words, name=path.name)


def _strings(arrays: Arrays, key: str, path: Path) -> tuple[str, ...]:
    if key not in arrays:
        return ()
    values = np.atleast_1d(arrays[key])
    if (values.dtype.kind not in "US" and values.size) or values.ndim != 1:
        raise DataError(f"File {path}: {key} must be a list of words, not {values.dtype} values.")
    words = tuple(str(word.decode() if isinstance(word, bytes) else word) for word in values.tolist())
    if len(set(words)) < len(words):
        raise DataError(f"File {path}: {key} names something twice: {', '.join(words)}.")
    return words
