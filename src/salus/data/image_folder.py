"""A folder of images by class, with or without folders for training and testing above: the layout of ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from salus.data.base import Drop, Provenance, Splits
from salus.data.decoding import Decoding, decode_images
from salus.data.folder_tree import FolderTree, some
from salus.data.groups import Groups, group_names
from salus.data.image_layout import ImageLayout, is_image, read_layout
from salus.data.options import LoadOptions
from salus.data.pixels import APART, Images, assemble_images
from salus.data.sides import Sided
from salus.data.split import ALL, Indices, all_test
from salus.errors import DataError, OptionError
from salus.preprocessing import ImagePreprocessor
from salus.preprocessing.framing import COVER, Framing
from salus.progress import console

SPLITS = ("dealt", ALL)

#: Files named in a warning.
FEW_NAMED = 3


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
    where both are, ``val`` is halved into validation and calibration. Otherwise training is dealt by class, or by
    patient where ``group_by`` says of which each image is. With the split ``all`` every image is a test image,
    wherever it lies.

    Raises:
        DataError: there are no class folders, classes differ between the parts, a patient is on two sides, or images
            differ in size and no ``size`` is given.
    """
    folder = Path(options.name)
    name, split = folder.resolve().name, options.choose_split(SPLITS)
    layout = read_layout(folder)
    if split != ALL:
        layout.need_training()
    listing = list_images(layout)
    rule = "images count as independent: of which patients they are is not known"
    who: Groups | None = None
    if options.group_by is not None:
        names = [path.relative_to(folder).as_posix() for path in listing.paths]
        who = group_names(options.group_by, names, name=name)
        listing, rule = replace(listing, groups=who.ids), who.note
    images, kept = read_images(listing, decoding_of(options), name=name)
    if split == ALL:
        parts, words = all_test(len(images.y)), "all images are test images"
    else:
        sided = Sided(
            y=images.y,
            classes=images.classes,
            sides=[listing.sides[row] for row in kept],
            groups=who and Groups(who.ids[kept], tuple(who.words[row] for row in kept), who.rule),
            name=name,
            remedy="put the images of each class into one folder and let Salus split by patient.",
        )
        parts, words = sided.deal(APART, seed=options.seed)
    provenance = replace(images.provenance, split=words, notes=(*images.provenance.notes, rule))
    return assemble_images(replace(images, provenance=provenance, positive=options.positive), parts, options)


def is_image_folder(folder: Path) -> bool:
    """Tell by the first file of a known kind whether a folder holds images, not recordings with annotations."""
    if folder.is_dir():
        for path in FolderTree(folder).walk(folder):
            recorded = path.suffix.lower() in (".hea", ".atr")
            if recorded or is_image(path):
                return not recorded
    return False


def list_images(layout: ImageLayout) -> Listing:
    """List the image files of a layout."""
    each = [(path, found) for found in layout.folders for path in found.images]
    return Listing(
        paths=tuple(path for path, _ in each),
        y=np.array([layout.classes.index(found.label) for _, found in each], dtype=np.int64),
        sides=tuple(found.side for _, found in each),
        classes=layout.classes,
        notes=layout.notes,
    )


def decoding_of(options: LoadOptions) -> Decoding:
    """Read how files are to be decoded: as the model's inputs were, or as the options say.

    Raises:
        DataError: the model takes no images.
        OptionError: it is said how images are scaled, and not to which size.
    """
    given = options.made_by(ImagePreprocessor)
    if given is None:
        if options.resize is not None and options.size is None:
            raise OptionError("Option resize says how images are scaled, and not to which size; add it: --size 224.")
        return Decoding(
            size=options.size,
            bits=options.bit_depth,
            pages=options.pages,
            window=options.window,
            framing=COVER if options.resize is None else Framing.parse(options.resize),
        )
    bits = given.white.bit_length()
    pages, window = given.pages or options.pages, given.window or options.window
    return Decoding(
        size=given.size, channels=given.shape[0], bits=bits, pages=pages, window=window, framing=given.framing
    )


def read_images(listing: Listing, how: Decoding, *, name: str) -> tuple[Images, list[int]]:
    """Decode what was listed; images that cannot be read are named and counted in the provenance.

    Returns:
        The images, and the position of each in the list.

    Raises:
        DataError: no image of a class can be read, or see :func:`salus.data.decoding.decode_images`.
    """
    pictures = decode_images(listing.paths, how, name=name)
    notes = [*listing.notes, *_lost(listing, pictures.failed, name)]
    if how.size is not None:
        notes.append(how.framing.words(how.size))
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
        window=how.window,
        resized=pictures.resized,
        framing=how.framing,
        provenance=Provenance(
            name=name,
            source=f"images in {name}",
            checksum=pictures.checksum,
            dropped=tuple(Drop("images", len(files), f"{reason}: {some(files)}") for reason, files in reasons.items()),
            notes=tuple(notes),
        ),
    )
    return images, pictures.kept.tolist()


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
