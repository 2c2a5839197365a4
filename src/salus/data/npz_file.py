"""One's own arrays in a ``.npz`` file: ``x`` and ``y``, or parts given apart, as Salus or MedMNIST names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.assemble import RawData, assemble, refuse_nonfinite
from salus.data.axes import check_axes
from salus.data.base import FeatureMarks, Provenance, Splits
from salus.data.groups import Groups, group_names
from salus.data.labels import encode_array
from salus.data.lengths import of_one_length
from salus.data.medmnist import is_medmnist, load_medmnist
from salus.data.options import LoadOptions
from salus.data.published import file_sha256
from salus.data.ranges import read_ranges
from salus.data.several_labels import Labelled, labelled, several
from salus.data.sides import SIDES, Sided
from salus.data.split import ALL, SHARES, all_test
from salus.data.unread import tell_unread
from salus.errors import DataError, nearest
from salus.preprocessing.things import as_given, read_npz

Arrays = Mapping[str, NDArray[Any]]

SPLITS = ("dealt", ALL)

#: What training, validation and calibration share when the test part is given.
APART = {part: share / (1 - SHARES["test"]) for part, share in SHARES.items() if part != "test"}


#: The arrays of a side, and those that say what samples are.
_OF_A_SIDE = ("x", "y", "groups", "lengths")
_FACTS = ("prepared", "classes", "labels", "features", "immutable", "integer", "derived", "positive")

#: What else the side ``val`` is called.
_ALIASES = ("valid", "validation")


def load_npz(options: LoadOptions) -> Splits:
    """Load ``x`` and ``y``, and what else the file says of them.

    Beside a model that scales its inputs, an array ``prepared`` says that x is scaled already.

    Recordings ``[N, C, L]`` of several lengths are padded, with an array ``lengths`` ``[N]``; the option ``length``
    says which are loaded.

    The file may also hold ``classes``, ``groups``, ``features``, ``immutable``, ``integer``, ``derived`` and
    ``positive``; an option of the same name goes before it. With ``x_train``, ``y_train``, ``x_test`` and
    ``y_test`` (and ``groups_train``, ``groups_test``) the test part stays as it was given; ``x_val`` and ``y_val``
    beside them are halved into validation and calibration, and without ``x_test`` they are the test part. Arrays that
    nobody reads are named. Files as MedMNIST has them (``train_images``, ``train_labels``, ...) are read by
    :func:`salus.data.medmnist.load_medmnist`.

    Raises:
        DataError: the file is none, holds Python objects, its arrays do not fit together, or its axes look like
            ``[N, H, W, C]`` or ``[N, L, C]``.
    """
    path = Path(options.name)
    arrays = read_npz(path)
    if is_medmnist(arrays):
        return load_medmnist(arrays, options)
    arrays = _one_name(arrays, path)
    sides = _sides(arrays, path)
    for side in sides:
        _samples(arrays, f"x{side}", path)
    also = ("groups", *([] if options.group_by is None else [options.group_by]))
    taken = of_one_length(arrays, sides, options.length, path, also)
    arrays, notes = taken.arrays, [*taken.notes]
    xs = [arrays[f"x{side}"] for side in sides]
    counts = [len(x) for x in xs]
    ys = [_labels(arrays, f"y{side}", count, path, notes) for side, count in zip(sides, counts, strict=True)]
    names = tuple(f"x{side}[{row}]" for side, rows in zip(sides, taken.rows, strict=True) for row in rows.tolist())
    groups = _groups(arrays, sides, counts, names, options.group_by, path, notes)
    notes += tell_unread(
        arrays, {"groups", *_FACTS, *(f"{key}{side}" for key in _OF_A_SIDE for side in sides)}, options
    )
    if len({x.shape[1:] for x in xs}) > 1:
        shapes = [list(x.shape[1:]) for x in xs]
        raise DataError(
            f"File {path}: samples of {_and(f'x{side}' for side in sides)} differ in shape: {_and(map(str, shapes))}."
        )
    notes += check_axes(xs[0], f"x{sides[0]}", path)
    for side, x in zip(sides, xs, strict=True):
        refuse_nonfinite(x, f"{path.name}{': x' + side if side else ''}")
    at_once = None
    alike = len({each.shape[1:] for each in ys}) == 1
    if alike and several(np.concatenate(ys), named="labels" in arrays):
        named = _strings(arrays, "labels", path) or _strings(arrays, "classes", path)
        at_once = labelled(np.concatenate(ys), named, options.label, path.name)
        notes.append(at_once.note)
        y, classes = at_once.y, at_once.classes
    else:
        if options.label is not None:
            raise DataError(f"File {path} has one label a sample, so that there is none to choose; leave --label out.")
        y, classes = encode_array(np.concatenate(ys), _strings(arrays, "classes", path), name=path.name)
    x = xs[0] if len(xs) == 1 else np.concatenate(xs)
    given = options.preprocessor
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
    sided = Sided(
        y=y,
        classes=classes,
        sides=np.repeat([side.removeprefix("_") or "train" for side in sides], counts).tolist(),
        groups=groups,
        name=path.stem,
        remedy="give x, y and groups in one piece and let Salus split by patient.",
    )
    if options.choose_split(SPLITS) == ALL:
        parts, words = all_test(len(y)), "all samples are test samples"
    else:
        parts, words = sided.deal(APART, seed=options.seed)
    raw = RawData(
        x=x,
        y=y,
        classes=classes,
        groups=None if groups is None else groups.ids,
        bounds=bounds,
        positive=options.positive or _strings(arrays, "positive", path) or _there(at_once),
        labels=() if at_once is None else at_once.labels,
        label=None if at_once is None else at_once.label,
        features=features,
        marks=FeatureMarks(
            immutable=options.immutable or _strings(arrays, "immutable", path),
            integer=options.integer or _strings(arrays, "integer", path),
            derived=options.derived or _strings(arrays, "derived", path),
        ),
        ranges=None if options.ranges is None else read_ranges(options.ranges, features),
        names=names,
        preprocessor=given,
        prepared=prepared,
        known_classes=options.known_classes,
        provenance=Provenance(
            name=path.stem, source=path.name, checksum=file_sha256(path), split=words, notes=tuple(notes)
        ),
    )
    return assemble(raw, parts, scale=options.scale)


def _there(at_once: Labelled | None) -> tuple[str, ...]:
    """Take the one label that is asked for as what means disease."""
    return () if at_once is None or at_once.label is None else (at_once.label,)


def _one_name(arrays: Arrays, path: Path) -> dict[str, NDArray[Any]]:
    """Call the side ``val`` by one name."""
    result = dict(arrays)
    for key in _OF_A_SIDE:
        for other in (f"{key}_{alias}" for alias in _ALIASES):
            if other in result:
                if f"{key}_val" in result:
                    raise DataError(f"File {path} holds {key}_val and {other}; leave one of them.")
                result[f"{key}_val"] = result.pop(other)
    return result


def _sides(arrays: Arrays, path: Path) -> tuple[str, ...]:
    """The endings of the arrays of each side, in order; one empty ending where nothing is set apart."""
    apart = [f"_{side}" for side in SIDES if f"x_{side}" in arrays]
    if not apart:
        return ("",)
    if "x" in arrays:
        raise DataError(
            f"File {path} holds x and {_and(f'x{side}' for side in apart)}; leave x out if the others are its parts, "
            "or the others if x is all there is."
        )
    return ("_train", *(side for side in apart if side != "_train")) if len(apart) > 1 else ("_train", "_test")


def _samples(arrays: Arrays, key: str, path: Path) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(f"File {path} has no samples {key!r}; {nearest(key, arrays)}")
    x = arrays[key]
    if x.dtype.kind not in "fiub":
        raise DataError(f"File {path}: {key} must hold numbers, not {x.dtype} values.")
    if x.ndim not in (2, 3, 4, 5):
        raise DataError(
            f"File {path}: {key} has shape {list(x.shape)}; it must be [N, F] (table), [N, C, L] (signals), "
            "[N, C, H, W] (images) or [N, C, D, H, W] (volumes)."
        )
    if x.size == 0:
        raise DataError(f"File {path}: {key} has no samples (its shape is {list(x.shape)}).")
    return x


def _labels(arrays: Arrays, key: str, count: int, path: Path, notes: list[str]) -> NDArray[Any]:
    if key not in arrays:
        raise DataError(f"File {path} has no labels: add an array {key!r} with one label per sample.")
    y = arrays[key]
    if y.shape == (count, 1):
        notes.append(f"{key} of shape {list(y.shape)} was read as one label a sample")
        y = y[:, 0]
    if not y.ndim:
        raise DataError(f"File {path}: {key!r} is one value; it must hold one label per sample, {count} in all.")
    if y.ndim == 1 and len(y) != count:
        raise DataError(f"File {path}: {count} samples but {len(y)} labels in {key!r}; they must be as many.")
    return y


def _groups(
    arrays: Arrays,
    sides: tuple[str, ...],
    counts: list[int],
    names: tuple[str, ...],
    rule: str | None,
    path: Path,
    notes: list[str],
) -> Groups | None:
    """Find the patient of each sample: by ``--group-by``, or in the arrays ``groups``."""
    rule = None if rule == "groups" and any(f"groups{side}" in arrays for side in ("", *sides)) else rule
    if rule is not None and rule not in arrays:
        if not rule.lower().endswith(".csv"):
            raise DataError(
                f"File {path} has no array {rule!r}, and its samples have no names for a pattern (--group-by); name an "
                f"array with a patient for each of the {sum(counts)} samples, or a CSV file with the columns "
                f"name,group, in which they are called {names[0]}, ..., {names[-1]}."
            )
        whole = len(sides) == 1
        aliases = (lambda name: (name, name[2:-1])) if whole else (lambda name: (name,))
        groups = group_names(rule, names, name=path.name, aliases=aliases)
        notes.append(groups.note)
        return groups
    if rule is not None:
        return Groups.of(_patients(arrays, rule, sum(counts), path), f"array {rule}", name=path.name)
    keys = [f"groups{side}" for side in sides]
    given = [key for key in keys if key in arrays]
    if len(sides) > 1 and "groups" in arrays:
        order = _and(f"x{side}" for side in sides)
        if given or arrays["groups"].shape[:1] != (sum(counts),):
            raise DataError(
                f"File {path} holds groups of shape {list(arrays['groups'].shape)} beside {order}; give "
                f"{_and(keys)}, or groups for all {sum(counts)} samples in the order {order}."
            )
        notes.append(f"groups was read as the patients of {order}, in this order")
        return Groups.of(_patients(arrays, "groups", sum(counts), path), "groups", name=path.name)
    if not given:
        return None
    words = [word for key, count in zip(keys, counts, strict=True) for word in _patients(arrays, key, count, path)]
    return Groups.of(words, "groups", name=path.name)


def _patients(arrays: Arrays, key: str, count: int, path: Path) -> list[str]:
    values = arrays.get(key)
    if values is not None and values.shape == (count, 1):
        values = values[:, 0]
    if values is None or values.shape != (count,) or values.dtype.kind not in "iuUS":
        raise DataError(f"File {path}: {key} must hold one patient per sample, {count} whole numbers or words.")
    return [str(word.decode(errors="replace") if isinstance(word, bytes) else word) for word in values.tolist()]


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _strings(arrays: Arrays, key: str, path: Path) -> tuple[str, ...]:
    if key not in arrays:
        return ()
    values = np.atleast_1d(arrays[key])
    if (values.dtype.kind not in "US" and values.size) or values.ndim != 1:
        raise DataError(f"File {path}: {key} must be a list of words, not {values.dtype} values.")
    words = tuple(str(word.decode(errors="replace") if isinstance(word, bytes) else word) for word in values.tolist())
    if len(set(words)) < len(words):
        raise DataError(f"File {path}: {key} names something twice: {', '.join(words)}.")
    return words
