"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017), in the IDX format of their makers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salus.data.base import Provenance, Splits
from salus.data.options import LoadOptions
from salus.data.pinned import FASHION_MNIST, MNIST, PinnedSet
from salus.data.pixels import Images, assemble_images, checksum_of, deal_in_words, deal_training
from salus.errors import DataError

UBYTE = 8  # the code of unsigned bytes in an IDX header
DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load_mnist(options: LoadOptions) -> Splits:
    """Load 70,000 handwritten digits ``[N, 1, 28, 28]``; the test part is the official one of 10,000.

    Raises:
        DataError: the set is nowhere, or a file of it is missing or broken.
    """
    return _load(MNIST, DIGITS, "MNIST, LeCun, Cortes and Burges", "CC BY-SA 3.0", options)


def load_fashion_mnist(options: LoadOptions) -> Splits:
    """Load 70,000 pictures of clothes ``[N, 1, 28, 28]``; the test part is the official one of 10,000.

    Raises:
        DataError: the set is nowhere, or a file of it is missing or broken.
    """
    return _load(FASHION_MNIST, CLOTHES, "Fashion-MNIST, Zalando Research", "MIT", options)


def read_idx(content: bytes, dimensions: int, path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: two zero bytes, the type, the number of sizes, the sizes, the values.

    Args:
        content: what the file holds, unpacked.
        dimensions: how many it must have.
        path: of the file, for messages.

    Raises:
        DataError: it is no such file, or too short or too long for the sizes that it states.
    """
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes([0, 0, UBYTE, dimensions]):
        raise DataError(
            f"File {path} does not begin like an IDX file of unsigned bytes in {dimensions} "
            f"dimension{'s' * (dimensions > 1)} (00 00 08 {dimensions:02x}, then the sizes); get it again."
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    if len(content) - head != math.prod(shape):
        raise DataError(
            f"File {path} is truncated or damaged: its header says {' x '.join(map(str, shape))} values, "
            f"but {len(content) - head} follow; get it again."
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _load(published: PinnedSet, classes: tuple[str, ...], source: str, licence: str, options: LoadOptions) -> Splits:
    folder = published.find(options.data_dir)
    contents = published.read(folder)
    train, test = (_side(contents, folder, side) for side in ("train", "t10k"))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"Folder {folder}: training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}; "
            f"run: salus data fetch {published.name}."
        )
    x, y = (np.concatenate(pair) for pair in zip(train, test, strict=True))
    if y.max() >= len(classes):
        raise DataError(f"Folder {folder}: its labels go up to {y.max()}, but {published.name} has {len(classes)}.")
    strangers = published.strangers(contents)
    images = Images(
        x=x[:, None],  # [N, 1, 28, 28]
        y=y.astype(np.int64),
        classes=classes,
        provenance=Provenance(
            name=published.name,
            source=source,
            licence=licence,
            checksum=checksum_of(contents),
            split=deal_in_words(options.seed, given_test=True),
            notes=(f"not the published files of {published.name}: {', '.join(strangers)}",) if strangers else (),
        ),
    )
    parts = deal_training(images.y, classes, given_test=len(test[1]), seed=options.seed, name=published.name)
    return assemble_images(images, parts, options)


def _side(contents: dict[str, bytes], folder: Path, side: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images ``[N, H, W]`` and labels ``[N]`` of one side."""
    names = f"{side}-images-idx3-ubyte", f"{side}-labels-idx1-ubyte"
    x, y = (read_idx(contents[name], size, folder / name) for name, size in zip(names, (3, 1), strict=True))
    if len(x) != len(y) or not len(x):
        raise DataError(f"Folder {folder}: {names[0]} holds {len(x)} images, but {names[1]} {len(y)} labels.")
    return x, y
