"""A file or folder of any kind, prepared for one model: raw, or arrays that are prepared already."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.errors import BundleError, DataError, nearest
from salus.npy import MAGIC, read_npy
from salus.preprocessing.arrays import ArrayPreprocessor
from salus.preprocessing.base import BATCH, Prepared, Preprocessor, Refusal, inside
from salus.preprocessing.images import ImagePreprocessor
from salus.preprocessing.tables import TablePreprocessor

ARRAYS = frozenset({".npz", ".npy"})

#: An archive may unpack to this many bytes, and where it is large to so many times its own size.
MAX_UNPACKED, MAX_RATIO = 2**28, 200


def read_thing(
    thing: Path,
    preprocessor: Preprocessor | None,
    *,
    shape: tuple[int, ...],
    bounds: tuple[float, float],
    label: str | None = None,
) -> Iterator[Prepared]:
    """Prepare a file or folder, a batch at a time.

    Args:
        thing: what a model's raw inputs are, or an ``.npz`` file with ``x`` (and ``y``) or an ``.npy`` file of x.
        preprocessor: the model's; None where nobody knows.
        shape: of one x.
        bounds: lowest and highest value of x.
        label: the column of a table that holds the label, where its name does not tell.

    Raises:
        BundleError: it is raw, and there is no preprocessor.
        DataError: it is no input of this model, or nothing of it can be prepared.
    """
    if not thing.exists() and not thing.with_name(thing.name + ".hea").exists():
        raise DataError(f"There is no file or folder {thing}; check the path.")
    if thing.suffix.lower() in ARRAYS and thing.is_file():
        batches = _arrays(thing, preprocessor, shape, bounds)
    elif preprocessor is None:
        raise unprepared(str(thing))
    elif not preprocessor.reads(thing) and not isinstance(preprocessor, ArrayPreprocessor):
        raise DataError(f"{thing} is not what this model takes: {preprocessor.takes} ({preprocessor.describe()}).")
    else:
        batches = preprocessor.stream(thing, label)
    count, first = 0, None
    for batch in batches:
        count += len(batch.x)
        first = first or next(iter(batch.refused), None)
        yield batch
    if not count:
        reason = f": the first, {first.name}, {first.reason}" if first is not None else ""
        raise DataError(f"Nothing in {thing} could be prepared{reason}.")


def unprepared(what: str) -> BundleError:
    """Say that nobody knows how inputs are made, and what can be done."""
    return BundleError(
        f"How raw inputs such as {what} become the model's is not known: it was saved without a preprocessor. Make one "
        "from its training data (salus guard attach-preprocessor FOLDER --data ...), or bring prepared arrays (.npz)."
    )


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of a file; nothing that could run code is ever unpickled.

    Raises:
        DataError: it is no such file, is broken, or holds Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"File {path} is no .npz archive; make one with numpy.savez({path.name!r}, x=x, y=y).")
    arrays = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _refuse_bomb(path, archive)
            for info in archive.infolist():
                key = info.filename.removesuffix(".npy")
                with archive.open(info) as member:
                    try:
                        arrays[key] = _member(member, info)
                    except ValueError as error:
                        if "Python objects" not in str(error):
                            raise
                        raise DataError(
                            f"File {path}: array {key!r} holds Python objects, which are never loaded because "
                            "they can run code; save it as numbers or as words (dtype str)."
                        ) from error
    except DataError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"File {path} is broken and cannot be read ({reason}); save it again.") from error
    return arrays


def _member(member: IO[bytes], info: zipfile.ZipInfo) -> NDArray[Any]:
    head = member.read(len(MAGIC))
    member.seek(0)
    return read_npy(member, info.file_size) if head == MAGIC else np.asarray(member.read())


def _refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that unpacks to far more than any data do."""
    unpacked = sum(info.file_size for info in archive.infolist())
    packed = path.stat().st_size
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * packed):
        raise DataError(
            f"File {path} of {packed} bytes unpacks to {unpacked}, over {MAX_RATIO} times as many, as no data do; "
            "save it by numpy.savez, without compression."
        )


def as_given(
    x: NDArray[Any], given: Preprocessor, features: tuple[str, ...], says_prepared: bool, path: Path
) -> tuple[NDArray[Any], tuple[str, ...], bool]:
    """Bring arrays to a model's inputs: features by name, levels of images to its size.

    Args:
        x: samples.
        given: the model's preprocessor.
        features: names of a table's features, as the file gives them; () where it gives none.
        says_prepared: whether the file says that its samples are prepared.
        path: of the file.

    Returns:
        The samples, the names of their features, and whether they are prepared: those of a model that takes tables,
        images or recordings are, and those of one that scales arrays where the file says so.

    Raises:
        DataError: a feature is missing.
    """
    if isinstance(given, ImagePreprocessor) and x.dtype.kind == "u" and x.ndim == 4:
        return given.levels_of(x) / np.float32(given.white), features, True
    wanted = given.features if isinstance(given, (ArrayPreprocessor, TablePreprocessor)) else ()
    if wanted and features and features != wanted:
        if x.ndim != 2 or x.shape[1] != len(features):
            raise DataError(f"File {path} names {len(features)} features, but x has the shape {list(x.shape)}.")
        lacking = next((name for name in wanted if name not in features), None)
        if lacking is not None:
            raise DataError(
                f"File {path} has no feature {lacking!r}, which the model reads; {nearest(lacking, features)}"
            )
        x = x[:, [features.index(name) for name in wanted]]
    scales = isinstance(given, ArrayPreprocessor) and given.scaling is not None
    return x, wanted or features, says_prepared or not scales


def _arrays(
    path: Path, preprocessor: Preprocessor | None, shape: tuple[int, ...], bounds: tuple[float, float]
) -> Iterator[Prepared]:
    arrays = _read(path)
    if "x" not in arrays:
        raise DataError(f"File {path} has no samples 'x'; {nearest('x', arrays)}")
    x, y = arrays["x"], arrays.get("y")
    if x.dtype.kind not in "fiub":
        raise DataError(f"File {path}: x must hold numbers, not {x.dtype} values.")
    features = tuple(map(str, arrays["features"].tolist())) if "features" in arrays else ()
    prepared = True
    if preprocessor is not None:
        x, features, prepared = as_given(x, preprocessor, features, "prepared" in arrays, path)
    if tuple(x.shape[1:]) != shape or not len(x):
        takes = ", ".join(map(str, shape))
        raise DataError(f"{path}: x has shape {list(x.shape)}, the model takes [N, {takes}].")
    if y is not None and y.shape == (len(x), 1):
        y = y[:, 0]
    labels = () if y is None or y.shape != x.shape[:1] else tuple(_word(value) for value in y.tolist())
    names = tuple(f"x[{row}]" for row in range(len(x)))
    for first in range(0, len(x), BATCH):
        yield _batch(
            torch.from_numpy(np.ascontiguousarray(x[first : first + BATCH])),
            names[first : first + BATCH],
            labels[first : first + BATCH],
            None if prepared else preprocessor,
            bounds,
        )


def _batch(
    values: torch.Tensor,
    names: tuple[str, ...],
    labels: tuple[str, ...],
    preprocessor: Preprocessor | None,
    bounds: tuple[float, float],
) -> Prepared:
    if preprocessor is None:
        x, kept, refused = inside(values.float(), names, bounds)
        clipped = 0
    else:
        made = preprocessor.transform(values)
        numbers = dict(zip((f"sample {n}" for n in range(1, len(names) + 1)), names, strict=True))
        x, kept, clipped = made.x, [numbers[name] for name in made.names], made.clipped
        refused = [Refusal(numbers[each.name], each.reason) for each in made.refused]
    at = dict(zip(names, labels, strict=True)) if labels else {}
    return Prepared(x, tuple(kept), tuple(at[name] for name in kept) if at else (), tuple(refused), (), clipped)


def _read(path: Path) -> Mapping[str, NDArray[Any]]:
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    try:
        with path.open("rb") as file:
            return {"x": read_npy(file, path.stat().st_size)}
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"File {path} is broken or holds Python objects ({error}); save it again.") from error


def _word(label: Any) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)
