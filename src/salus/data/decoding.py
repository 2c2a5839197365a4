"""Decoding image files in threads into one array: in memory, or in a file where it is large."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salus.data.pixel_rows import pixel_rows
from salus.data.pixels import Pixels
from salus.data.split import Indices
from salus.errors import DataError
from salus.preprocessing.dicom_images import Window
from salus.preprocessing.framing import COVER, Framing
from salus.preprocessing.image_files import Decoded, ImageHeader, decode, decoders, or_reason, read_head
from salus.progress import progress

#: Images that are decoded before the next ones are begun, so that few wait in memory to be kept.
AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images that could be read.

    Attributes:
        x: their levels ``[n, C, H, W]``: C is 1 if every image is grey, else 3. An array of more than
            ``MOST_VALUES`` is mapped from a file without a name, which is gone when the array is.
        white: the highest level of their scale.
        resized: whether they were scaled to one size.
        kept: their positions among the files ``[n]``.
        failed: the other positions, and why.
        assumed: what was assumed of how many.
        checksum: SHA-256 over the files read.
    """

    x: Pixels
    white: int
    resized: bool
    kept: Indices
    failed: dict[int, str]
    assumed: Counter[str]
    checksum: str


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How image files are to be decoded.

    Attributes:
        size: height and width to which each image is scaled and cropped. None: they all have one size already.
        channels: 1 or 3; None: 1 if every image is grey, else 3.
        bits: of each level; None: 8, or 16 where some image has levels that need so many.
        pages: ``first`` where the first page of several is read; None where such images are left out.
        window: of DICOM files, the window that is looked through; None where those that name several are left out.
        framing: how they are scaled and cropped.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    bits: int | None = None
    pages: str | None = None
    window: Window = None
    framing: Framing = COVER


def decode_images(paths: Sequence[Path], how: Decoding, *, name: str) -> DecodedImages:
    """Decode image files to one size.

    An image that is damaged, larger than ``MAX_PIXELS``, of several pages or of a mode without a known range is left
    out.

    Args:
        paths: of the files.
        how: they are to be decoded.
        name: of the data, for messages.

    Raises:
        DataError: Pillow is missing, no image can be read, they differ in size, it is not clear how many of 16 bits
            they use, or they do not fit on the disk.
        StoreError: the user's cache, where the file lies, cannot be written.
    """
    with decoders() as threads:
        heads: list[ImageHeader | str] = list(
            threads.map(or_reason(lambda path: read_head(path, how.pages, how.window)), paths)
        )
        failed = {row: head for row, head in enumerate(heads) if isinstance(head, str)}
        good = {row: head for row, head in enumerate(heads) if not isinstance(head, str)}
        if not good:
            raise DataError(
                f"Data {name!r}: none of {len(paths)} images can be read; the first, {paths[0]}, {failed[0]}."
            )
        sizes = {paths[row]: head.size for row, head in good.items()}
        height, width = how.size or _one_size(sizes, name)
        channels = how.channels or (1 if all(head.grey for head in good.values()) else 3)
        white = _white(how.bits, good.values(), name)

        def decode_one(path: Path) -> tuple[Decoded, str]:
            content = path.read_bytes()
            image = decode(
                content,
                channels=channels,
                size=(height, width),
                white=white,
                window=how.window,
                framing=how.framing,
            )
            if how.size is None and image.size != (height, width):  # which its first bytes did not say
                raise ValueError(f"has {image.size[0]}x{image.size[1]} pixels upright, the others {height}x{width}")
            return image, hashlib.sha256(content).hexdigest()

        digest, places, assumed = hashlib.sha256(), [], Counter[str]()
        highest: int | None = None  # of those that do not say how many bits they use
        shape = (channels, height, width)
        with (
            pixel_rows(len(good), shape, name=name, deep=white > 255) as rows,
            progress(f"Reading {name}", len(good)) as advance,
        ):
            order = list(good)
            for first in range(0, len(order), AT_ONCE):
                some = order[first : first + AT_ONCE]
                images = threads.map(or_reason(decode_one), [paths[row] for row in some])
                for row, image in zip(some, images, strict=True):
                    advance()
                    if isinstance(image, str):
                        failed[row] = image
                        continue
                    rows.append(image[0].levels)
                    assumed.update(image[0].assumed)
                    if image[0].highest is not None:
                        highest = max(highest or 0, image[0].highest)
                    digest.update(f"{image[1]}  {paths[row].name}\n".encode())
                    places.append(row)
            if not places:
                raise DataError(
                    f"Data {name!r}: none of {len(paths)} images can be read; the first, {paths[0]}, {failed[0]}."
                )
            if how.bits is None and highest is not None:
                _refuse_unknown_depth(highest, name)
            x = rows.array()
    return DecodedImages(
        x=x,
        white=white,
        resized=any(size != (height, width) for size in sizes.values()),
        kept=np.array(places, dtype=np.int64),
        failed=failed,
        assumed=assumed,
        checksum=digest.hexdigest(),
    )


def _white(bits: int | None, heads: Iterable[ImageHeader], name: str) -> int:
    """Give the highest level of the scale on which all images find room."""
    if bits is not None:
        return int(2**bits - 1)
    return max(head.white or 2**16 - 1 for head in heads)


def _refuse_unknown_depth(highest: int, name: str) -> None:
    """Refuse images of 16 bits that use fewer, as far as one can see.

    Raises:
        DataError: naming the two ways in which they can be read.
    """
    bits = max(highest.bit_length(), 9)
    if bits < 16:
        raise DataError(
            f"Data {name!r}: its images are stored with 16 bits, but no level is above {highest}; say whether white is "
            f"the level {2**bits - 1} (--bit-depth {bits}) or 65535 (--bit-depth 16)."
        )


def _one_size(sizes: dict[Path, tuple[int, int]], name: str) -> tuple[int, int]:
    """The size that all images have."""
    first_path, first = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != first:
            often = [(f"{height}x{width}", count) for (height, width), count in Counter(sizes.values()).most_common(3)]
            raise DataError(
                f"Data {name!r}: {first_path.name} has {first[0]}x{first[1]} pixels, {path.name} {size[0]}x{size[1]}; "
                f"most have {', '.join(f'{words} ({count} images)' for words, count in often)}: say to which size all "
                f"are to be scaled and cropped (--size {often[0][0]}, or --size 224 for squares)."
            )
    return first
