"""The tables that come with HAM10000 and ISIC 2018: which image is of which class and of which lesion."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salus.data.published import refuse_escape
from salus.data.split import Indices
from salus.errors import DataError, nearest

#: In ISIC's order: melanoma, mole, basal cell carcinoma, actinic keratosis or Bowen's disease, benign keratosis,
#: dermatofibroma, vascular lesion. HAM10000 writes the same in small letters.
CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")

METADATA = "HAM10000_metadata.csv"
GROUND_TRUTH = "ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"


@dataclass(frozen=True, eq=False)
class SkinTable:
    """Images, their classes and lesions.

    Attributes:
        images: names of the N images, without an ending.
        y: their classes ``[N]``, indices into ``CLASSES``.
        lesions: the lesion of each; None where nobody says.
    """

    images: tuple[str, ...]
    y: Indices
    lesions: tuple[str, ...] | None


def read_ham10000(folder: Path) -> SkinTable:
    """Read ``HAM10000_metadata.csv``: columns ``lesion_id``, ``image_id`` and ``dx`` among others.

    Raises:
        DataError: it is broken, or names an image twice or a class that is none.
    """
    path = _need_table(folder, METADATA)
    images, y, lesions = [], [], []
    for line, row in _rows(path, ("lesion_id", "image_id", "dx")):
        images.append(_image(row["image_id"], line, path))
        label = row["dx"].upper()
        if label not in CLASSES:
            raise DataError(f"File {path}: line {line} has the class {row['dx']!r}; {nearest(label, CLASSES)}")
        y.append(CLASSES.index(label))
        lesions.append(row["lesion_id"])
    return _table(images, y, lesions, path)


def read_isic2018(folder: Path) -> SkinTable:
    """Read the ground truth, a column for each class and a single 1 in each row, and the lesions where their table is.

    Raises:
        DataError: a table is broken, a row has not exactly one class, or an image has no lesion.
    """
    path = _need_table(folder, GROUND_TRUTH)
    images, y = [], []
    for line, row in _rows(path, ("image", *CLASSES)):
        images.append(_image(row["image"], line, path))
        marks = [_number(row[label]) for label in CLASSES]
        if sorted(marks) != [0.0] * (len(CLASSES) - 1) + [1.0]:
            raise DataError(f"File {path}: line {line} marks {images[-1]} with {marks}; one class must have a 1.")
        y.append(marks.index(1.0))
    groupings = find_table(folder, GROUPINGS)
    if groupings is None:
        return _table(images, y, None, path)
    lesion = {row["image"]: row["lesion_id"] for _, row in _rows(groupings, ("image", "lesion_id"))}
    for image in images:
        if not lesion.get(image):
            raise DataError(f"File {groupings} names no lesion for {image}; get it again: salus data fetch isic2018.")
    return _table(images, y, [lesion[image] for image in images], path)


def find_table(folder: Path, name: str) -> Path | None:
    """The table of that name in a folder, or in the folder of its own that its archive unpacks to."""
    places = (folder / name, folder / Path(name).stem / name)
    return next((path for path in places if path.is_file()), None)


def _need_table(folder: Path, name: str) -> Path:
    path = find_table(folder, name)
    if path is None:
        raise DataError(f"Folder {folder} lacks the table {name}; run: salus data fetch {folder.name}.")
    return path


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Read the rows, each with its line in the file; the header must name the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            for column in columns:
                if column not in (reader.fieldnames or ()):
                    raise DataError(f"File {path} has no column {column!r}; {nearest(column, reader.fieldnames or ())}")
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"File {path}: line {reader.line_num} has too many or too few cells; get it again.")
                yield reader.line_num, {key: value.strip() for key, value in row.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"File {path} is no readable CSV ({error}); get it again.") from error


def _image(name: str, line: int, path: Path) -> str:
    """An image's name, which must lead to no other folder."""
    if not name or "/" in name:
        raise DataError(f"File {path}: line {line} names the image {name!r}, which is no name of a file.")
    return refuse_escape(name, where=f"File {path}: line {line}")


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _table(images: list[str], y: list[int], lesions: list[str] | None, path: Path) -> SkinTable:
    if not images:
        raise DataError(f"File {path} names no images; get it again.")
    seen: set[str] = set()
    for image in images:
        if image in seen:
            raise DataError(f"File {path} names the image {image} twice; get it again.")
        seen.add(image)
    return SkinTable(tuple(images), np.array(y, dtype=np.int64), None if lesions is None else tuple(lesions))
