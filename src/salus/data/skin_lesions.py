"""HAM10000 (Tschandl et al., 2018), which is also the training part of ISIC 2018, task 3: 10,015 skin lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from salus.data.base import Provenance, Splits
from salus.data.image_folder import Listing, decoding_of, read_images
from salus.data.labels import encode_groups
from salus.data.options import LoadOptions
from salus.data.pixels import assemble_images
from salus.data.skin_sets import HAM10000, ISIC2018, SkinSet
from salus.data.skin_tables import CLASSES, SkinTable
from salus.data.split import ALL, Indices, Parts, all_test, stratified
from salus.errors import DataError
from salus.preprocessing.image_files import SUFFIXES

SPLITS = ("lesions", "images", ALL)

#: The thesis's 70, 17.5 and 12.5%, its validation part halved.
SHARES: Mapping[str, float] = {"train": 0.70, "validation": 0.0875, "calibration": 0.0875, "test": 0.125}

#: Which classes mean disease, by name: what is malignant or about to be; and what the thesis calls cancerous, which
#: counts moles (NV) among them.
HEALTH_MAPS = {"malignant": ("MEL", "BCC", "AKIEC"), "thesis": ("MEL", "NV", "BCC", "AKIEC")}

#: Images of each class and lesions, as published.
COUNTS = {"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142}
LESIONS = 7470


def load_ham10000(options: LoadOptions) -> Splits:
    """Load images ``[N, 3, H, W]`` by ``HAM10000_metadata.csv``, with the lesion of each.

    They are 450 high and 600 wide; ``size`` makes them smaller.

    Raises:
        DataError: the set is nowhere, its table is broken, or no image can be read.
    """
    return _load(HAM10000, options)


def load_isic2018(options: LoadOptions) -> Splits:
    """Load images ``[N, 3, H, W]`` by ISIC's ground truth of task 3's training part, and its table of lesions.

    Raises:
        DataError: the set is nowhere, a table is missing or broken, or no image can be read.
    """
    return _load(ISIC2018, options)


def image_paths(folder: Path, images: Sequence[str]) -> tuple[Path, ...]:
    """The file of each image, wherever below the folder it lies; a path that leads nowhere where there is none."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            paths.setdefault(path.stem, path)
    return tuple(paths.get(image, folder / f"{image}.jpg") for image in images)


def _load(published: SkinSet, options: LoadOptions) -> Splits:
    name, split = published.name, options.choose_split(SPLITS)
    folder = published.find(options.data_dir)
    table = published.read(folder)
    lesions = None if table.lesions is None else encode_groups(table.lesions, name=name, word="lesion")
    if lesions is None and split == "lesions":
        raise DataError(
            f"Folder {folder} does not say which pictures show one lesion; get ISIC2018_Task3_Training_LesionGroupings"
            f".csv (salus data fetch {name}), or mix them over the parts (--split images)."
        )
    # All that the table names are dealt, so that a missing image moves no other.
    parts = _deal(table.y, lesions, split, options.seed, name)
    sides = np.empty(len(table.y), dtype=object)
    for part, rows in parts.items():
        sides[rows] = part
    listing = Listing(
        paths=image_paths(folder, table.images),
        y=table.y,
        sides=tuple(sides),
        classes=CLASSES,
        notes=(*_strangeness(table), *_warning(split, lesions, parts), *_positive_note(options)),
        groups=lesions,
    )
    images, kept = read_images(listing, decoding_of(options), name=name)
    provenance: Provenance = replace(
        images.provenance,
        source=published.source,
        licence=published.licence,
        split=_in_words(split, options.seed),
    )
    images = replace(images, provenance=provenance, positive=_positive(options), group_word="lesion")
    side = sides[kept]
    return assemble_images(images, {part: np.flatnonzero(side == part) for part in parts}, options)


def _deal(y: Indices, lesions: Indices | None, split: str, seed: int, name: str) -> Parts:
    """Deal images; or lesions, each with all its images and by the class of the first."""
    if split == ALL:
        return all_test(len(y))
    if lesions is None or split == "images":
        return stratified(y, CLASSES, SHARES, seed=seed, name=name)
    _, first, member = np.unique(lesions, return_index=True, return_inverse=True)
    dealt = stratified(y[first], CLASSES, SHARES, seed=seed, name=name)
    return {part: np.flatnonzero(np.isin(member, members)) for part, members in dealt.items()}


def _in_words(split: str, seed: int) -> str:
    if split == ALL:
        return "all images are test images"
    return f"{split}, stratified by class, seed {seed}: 70% train, 8.75% validation, 8.75% calibration, 12.5% test"


def _warning(split: str, lesions: Indices | None, parts: Parts) -> list[str]:
    """Say how many lesions stand on both sides of the thesis's split."""
    if split != "images":
        return []
    if lesions is None:
        return ["WARNING: pictures of one lesion stand in training and in test"]
    both = len(np.intersect1d(lesions[parts["train"]], lesions[parts["test"]]))
    return [
        f"WARNING: of {both} lesions pictures stand in training and in test, as in the thesis (split 'lesions' does "
        "better)"
    ]


def _strangeness(table: SkinTable) -> list[str]:
    """Say where the table is not that of the published 10,015 images."""
    counts = dict(zip(CLASSES, np.bincount(table.y, minlength=len(CLASSES)).tolist(), strict=True))
    lesions = None if table.lesions is None else len(set(table.lesions))
    if counts == COUNTS and lesions in (None, LESIONS):
        return []
    content = ", ".join(f"{label} {count}" for label, count in counts.items())
    of = "" if lesions is None else f"; {lesions} lesions"
    return [f"not the published table of 10,015 images of {LESIONS:,} lesions: {content}{of}"]


def _positive(options: LoadOptions) -> tuple[str, ...]:
    words = options.positive or ("malignant",)
    return HEALTH_MAPS.get(words[0], words) if len(words) == 1 else words


def _positive_note(options: LoadOptions) -> list[str]:
    if options.positive != ("thesis",):
        return []
    return ["disease is MEL, NV, BCC and AKIEC, as in the thesis; NV (moles) is benign"]
