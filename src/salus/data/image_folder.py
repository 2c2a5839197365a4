"""A folder of images by class, with or without folders for training and testing above: the layout of ImageNet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from salus.data.base import Drop, Provenance, Splits
from salus.data.decoding import Decoding, decode_images
from salus.data.options import LoadOptions
from salus.data.pixels import Images, assemble_images, deal_in_words, deal_training
from salus.data.split import ALL, Indices, Parts, all_test
from salus.errors import DataError
from salus.preprocessing import ImagePreprocessor
from salus.preprocessing.image_files import SUFFIXES
from salus.progress import console

SPLITS = ("dealt", ALL)

#: The folders that hold a part -> the part.
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

#: Files named in a list, and in a warning.
MOST_NAMED, FEW_NAMED = 10, 3


@dataclass(frozen=True)
class Listing:
    """The image files below a folder, training first, then validation, then test.

    Attributes:
        paths: of the files ``[N]``.
        y: their classes ``[N]``.
        sides: of each ``[N]``: ``train``, ``val`` or ``test``, or the part that it was dealt to.
        classes: names of the class folders, sorted as text.
        notes: what was passed over.
        groups: the patient or lesion of each ``[N]``, where that is known.
    """

    paths: tuple[Path, ...]
    y: Indices
    sides: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    groups: Indices | None = None


def load_image_folder(options: LoadOptions) -> Splits:
    """Load images ``[N, C, H, W]`` by class: ``CLASS/*.jpg``, or ``train/CLASS/*.jpg`` and ``val`` or ``test``.

    C is 1 if every image is grey, else 3. Where only one of ``val`` and ``test`` is there, it is the test part;
    where both are, ``val`` is halved into validation and calibration. Otherwise training is dealt by class. With the
    split ``all`` every image is a test image, wherever it lies.

    Raises:
        DataError: there are no class folders, classes differ between the parts, or images differ in size and no
            ``size`` is given.
    """
    folder = Path(options.name)
    images, sides = read_images(list_images(folder), decoding_of(options), name=folder.resolve().name)
    if options.choose_split(SPLITS) == ALL:
        parts, words = all_test(len(images.y)), "all images are test images"
    else:
        parts, words = deal_sides(images, sides, seed=options.seed)
    note = "images count as independent: of which patients they are is not known"
    provenance = replace(images.provenance, split=words, notes=(*images.provenance.notes, note))
    return assemble_images(replace(images, provenance=provenance, positive=options.positive), parts, options)


def is_image_folder(folder: Path) -> bool:
    """Tell by the first file of a known kind whether a folder holds images, not WFDB records."""
    for _, below, files in os.walk(folder):
        below.sort()
        for file in sorted(files):
            suffix = Path(file).suffix.lower()
            if suffix == ".hea" or suffix in SUFFIXES:
                return suffix != ".hea"
    return False


def list_images(folder: Path) -> Listing:
    """List the image files by class and part.

    Raises:
        DataError: see :func:`load_image_folder`.
    """
    tops = _folders(folder)
    apart = {PARTS[top.name]: top for top in tops if top.name in PARTS and _folders(top)}
    passed_over: list[str] = []
    if "train" in apart:
        passed_over = [top.name for top in tops if top not in apart.values()]
    else:
        apart = {"train": folder}
    classes = tuple(path.name for path in _folders(apart["train"]))
    if not classes:
        raise DataError(f"Folder {folder} has no folders in it; put the images of each class into one of its own.")
    paths: list[Path] = []
    labels: list[int] = []
    sides: list[str] = []
    others = 0
    for side in ("train", "val", "test"):
        if side not in apart:
            continue
        for place in _folders(apart[side]):
            if place.name not in classes:
                raise DataError(f"Folder {place} is of a class that training lacks; its classes: {_some(classes)}.")
            files = sorted(Path(root) / file for root, _, names in os.walk(place) for file in names)
            images = [path for path in files if path.suffix.lower() in SUFFIXES]
            others += len(files) - len(images)
            if side == "train" and not images:
                raise DataError(f"Folder {place} holds no images; take it away, or add images of the class.")
            paths += images
            labels += [classes.index(place.name)] * len(images)
            sides += [side] * len(images)
    notes = [f"{others} files passed over that are no images by their names"] if others else []
    notes += [f"folders passed over: {_some(passed_over)}"] if passed_over else []
    return Listing(tuple(paths), np.array(labels, dtype=np.int64), tuple(sides), classes, tuple(notes))


def decoding_of(options: LoadOptions) -> Decoding:
    """Read how files are to be decoded: as the model's inputs were, or as the options say.

    Raises:
        DataError: the model takes no images.
    """
    given = options.made_by(ImagePreprocessor)
    if given is None:
        return Decoding(size=options.size, bits=options.bit_depth, pages=options.pages)
    bits = given.white.bit_length()
    return Decoding(size=given.size, channels=given.shape[0], bits=bits, pages=given.pages or options.pages)


def read_images(listing: Listing, how: Decoding, *, name: str) -> tuple[Images, list[str]]:
    """Decode what was listed; images that cannot be read are named and counted in the provenance.

    Returns:
        The images, and the side of each.

    Raises:
        DataError: no image of a class can be read, or see :func:`salus.data.decoding.decode_images`.
    """
    pictures = decode_images(listing.paths, how, name=name)
    notes = [*listing.notes, *_lost(listing, pictures.failed, name)]
    if how.size is not None:
        notes.append(f"scaled to cover {how.size[0]}x{how.size[1]} pixels and cropped in the middle")
    notes += [f"{count} images: {what}" for what, count in sorted(pictures.assumed.items())]
    names = [f"{path.parent.name}/{path.name}" for path in listing.paths]
    reasons: dict[str, list[str]] = {}
    for row, reason in sorted(pictures.failed.items()):
        reasons.setdefault(reason, []).append(names[row])
    images = Images(
        x=pictures.x,
        y=listing.y[pictures.kept],
        classes=listing.classes,
        groups=None if listing.groups is None else listing.groups[pictures.kept],
        names=tuple(names[row] for row in pictures.kept),
        white=pictures.white,
        pages=how.pages,
        resized=pictures.resized,
        provenance=Provenance(
            name=name,
            source=f"images in {name}",
            checksum=pictures.checksum,
            dropped=tuple(Drop("images", len(files), f"{reason}: {_some(files)}") for reason, files in reasons.items()),
            notes=tuple(notes),
        ),
    )
    return images, [listing.sides[row] for row in pictures.kept]


def _lost(listing: Listing, failed: Mapping[int, str], name: str) -> list[str]:
    """Warn of images that cannot be read.

    Raises:
        DataError: they are all that a class has to train on.
    """
    if not failed:
        return []
    rows = sorted(failed)
    side, stay = np.array(listing.sides), np.ones(len(listing.y), dtype=bool)
    stay[rows] = False
    for index, label in enumerate(listing.classes):
        of_class = (listing.y == index) & (side == "train")
        if of_class.any() and not (of_class & stay).any():
            first = int(of_class.argmax())
            raise DataError(
                f"Data {name!r}: none of the {of_class.sum()} images of class {label!r} to train on can be read; the "
                f"first, {listing.paths[first]}, {failed[first]}."
            )
    examples = "; ".join(f"{listing.paths[row].name} {failed[row]}" for row in rows[:FEW_NAMED])
    more = f"; and {len(rows) - FEW_NAMED} more" if len(rows) > FEW_NAMED else ""
    warning = f"WARNING: {len(rows)} of {len(stay)} images cannot be read and are left out: {examples}{more}"
    console.print(warning, markup=False)
    return [warning]


def deal_sides(images: Images, sides: Sequence[str], *, seed: int) -> tuple[Parts, str]:
    """Deal images, of which some may be set apart for validation and test; say in words how."""
    side, name = np.array(sides), images.provenance.name
    train, val, test = (np.flatnonzero(side == part) for part in ("train", "val", "test"))
    if len(val) and len(test):
        # Every second image of a shuffled class: each class is halved.
        order = np.random.default_rng(seed).permutation(val)
        order = order[np.argsort(images.y[order], kind="stable")]
        halves = {"validation": np.sort(order[::2]), "calibration": np.sort(order[1::2])}
        return {"train": train, **halves, "test": test}, (
            f"train and test as given, val halved by class into validation and calibration, seed {seed}"
        )
    count = len(val) + len(test)
    parts = deal_training(images.y, images.classes, given_test=count, seed=seed, name=name)
    words = deal_in_words(seed, given_test=bool(count))
    return parts, words.replace("test part as given", "val is the test part") if len(val) else words


def _folders(place: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, sorted as text, as torchvision sorts classes."""
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _some(names: Sequence[str]) -> str:
    """The first names, and how many there are more."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
