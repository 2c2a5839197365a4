"""CIFAR-10 (Krizhevsky, 2009): from its official binary version, or from a folder of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from salus.data.base import Provenance, Splits
from salus.data.decoding import Decoding
from salus.data.image_folder import list_images, read_images
from salus.data.image_layout import read_layout
from salus.data.options import LoadOptions
from salus.data.pinned import CIFAR10
from salus.data.pixels import APART, Images, Pixels, assemble_images, checksum_of, deal_in_words, deal_training
from salus.data.places import places
from salus.data.sides import Sided
from salus.data.split import Indices
from salus.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # the label, then red, green and blue by rows
TEST = "test_batch.bin"
SOURCE = "CIFAR-10, Krizhevsky, Nair and Hinton"


def load_cifar10(options: LoadOptions) -> Splits:
    """Load 60,000 colour images ``[N, 3, 32, 32]``; the test part is the official one of 10,000.

    The folder ``cifar10`` holds the official binary files, or ``train/CLASS/*`` and ``test/CLASS/*`` images. Where
    these are JPEG, the data are called ``cifar10-jpeg``: their values are close to the original's, not equal.

    Raises:
        DataError: the set is nowhere, or there only as pickles; a file of it is missing or broken.
    """
    _refuse_pickles(options.data_dir)
    folder = CIFAR10.find(options.data_dir)
    return _load_binary(folder, options) if (folder / TEST).is_file() else _load_images(folder, options)


def _load_binary(folder: Path, options: LoadOptions) -> Splits:
    contents = CIFAR10.read(folder)
    batches = [_read_batch(content, folder / name) for name, content in contents.items()]  # the test batch is the last
    x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    strangers = CIFAR10.strangers(contents)
    images = Images(
        x=x,
        y=y,
        classes=CLASSES,
        provenance=Provenance(
            name="cifar10",
            source=SOURCE,
            version="binary",
            checksum=checksum_of(contents),
            split=deal_in_words(options.seed, given_test=True),
            notes=(f"not the published files of cifar10: {', '.join(strangers)}",) if strangers else (),
        ),
    )
    parts = deal_training(y, CLASSES, given_test=len(batches[-1][1]), seed=options.seed, name="cifar10")
    return assemble_images(images, parts, options)


def _read_batch(content: bytes, path: Path) -> tuple[Pixels, Indices]:
    """Images ``[n, 3, 32, 32]`` and labels ``[n]`` of one file."""
    if not content or len(content) % RECORD:
        raise DataError(
            f"File {path} is truncated or damaged: it holds {len(content)} bytes, no whole number of images of "
            f"{RECORD}; run: salus data fetch cifar10."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        row = int(records[:, 0].argmax())
        raise DataError(f"File {path} is damaged: image {row} has the label {records[row, 0]}; get it again.")
    return records[:, 1:].reshape(-1, *SHAPE), records[:, 0].astype(np.int64)


def _load_images(folder: Path, options: LoadOptions) -> Splits:
    layout = read_layout(folder)
    layout.need_training()
    listing = list_images(layout)
    if listing.classes != CLASSES or "test" not in listing.sides:
        raise DataError(
            f"Folder {folder} must hold train and test, each with the folders {', '.join(CLASSES)}; it has "
            f"{', '.join(sorted(set(listing.sides)))} with {', '.join(listing.classes)}."
        )
    lossy = any(path.suffix.lower() in (".jpg", ".jpeg") for path in listing.paths)
    images, kept = read_images(listing, Decoding(), name="cifar10-jpeg" if lossy else "cifar10")
    if images.x.shape[1:] != SHAPE:
        raise DataError(f"Folder {folder} holds images of shape {list(images.x.shape[1:])}; CIFAR-10's are {SHAPE}.")
    sides = [listing.sides[row] for row in kept]
    sided = Sided(y=images.y, classes=CLASSES, sides=sides, groups=None, name=images.provenance.name, remedy="")
    parts, words = sided.deal(APART, seed=options.seed)
    provenance = replace(
        images.provenance,
        source=f"{SOURCE}, {'encoded again as JPEG' if lossy else 'as images'}",
        split=words,
        notes=(*images.provenance.notes, *(["close to CIFAR-10, not equal"] if lossy else [])),
    )
    return assemble_images(replace(images, provenance=provenance), parts, options)


def _refuse_pickles(data_dir: Path | None) -> None:
    """Say what to do where the set is there only as Python pickles."""
    for folder in (place / "cifar10" for place in places(data_dir)):
        if any((folder / landmark).exists() for landmark in CIFAR10.landmarks):
            return
        for place in (folder, folder / "cifar-10-batches-py"):
            if (place / "data_batch_1").is_file():
                raise DataError(
                    f"Folder {place} holds CIFAR-10 as Python pickles, which are never loaded because they can run "
                    "code; get its binary version: salus data fetch cifar10."
                )
