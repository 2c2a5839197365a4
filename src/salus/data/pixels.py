"""From images of one byte a value to four Datasets: as floats, or packed where these would be too many."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.data.base import Dataset, Provenance, Splits
from salus.data.classes import lacking_note, match_classes
from salus.data.options import LoadOptions
from salus.data.packed import Packed
from salus.data.split import SHARES, Indices, Parts, describe_shares, gaps, stratified
from salus.preprocessing import ImagePreprocessor
from salus.preprocessing.dicom_images import Window
from salus.preprocessing.framing import COVER, Framing

#: Levels, uint8 or uint16.
Pixels = NDArray[Any]

#: With more values than this, 1 GiB of floats, images stay bytes, and lie in a file where they are decoded one by one.
MOST_VALUES = 2**28

#: What training, validation and calibration share of the training part when the test part is given: of 60,000
#: images 5,000 for validation and 5,000 for calibration, as MultiMagNet sets apart.
APART: Mapping[str, float] = {"train": 5 / 6, "validation": 1 / 12, "calibration": 1 / 12}


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images before they are dealt.

    Attributes:
        x: levels from 0 to ``white``, ``[N, C, H, W]``.
        y: labels ``[N]``.
        classes: class names.
        provenance: where they came from.
        positive: classes that mean disease.
        groups: the patient or lesion of each ``[N]``; None when they are independent.
        group_word: which of the two.
        names: what the source calls each; () where it has no names.
        white: the level that becomes 1.
        pages: which page of several was read; see ``salus.preprocessing.ImagePreprocessor``.
        window: which window of DICOM files was looked through; see the same.
        resized: whether they were scaled to one size.
        framing: how that was done, and will be with others.
    """

    x: Pixels
    y: Indices
    classes: tuple[str, ...]
    provenance: Provenance
    positive: tuple[str, ...] = ()
    groups: Indices | None = None
    group_word: str = "patient"
    names: tuple[str, ...] = ()
    white: int = 255
    pages: str | None = None
    window: Window = None
    resized: bool = False
    framing: Framing = COVER

    def named_by(self, known: tuple[str, ...]) -> Images:
        """Give them a model's classes, in the order of its logits, matched by name; or leave them their own.

        Raises:
            DataError: the model does not know one of theirs.
        """
        if not known:
            return self
        places = match_classes(self.classes, known, name=self.provenance.name)
        notes = (*self.provenance.notes, *lacking_note(self.classes, known, places))
        return replace(self, y=places[self.y], classes=known, provenance=replace(self.provenance, notes=notes))

    @property
    def preprocessor(self) -> ImagePreprocessor:
        """How images like these become x."""
        made = ImagePreprocessor(
            white=self.white, pages=self.pages, window=self.window, resized=self.resized, framing=self.framing
        )
        return made.of(classes=self.classes, bounds=(0.0, 1.0), shape=self.x.shape[1:])


def deal_training(y: Indices, classes: tuple[str, ...], *, given_test: int, seed: int, name: str) -> Parts:
    """Deal all rows but the last ``given_test``, which are the test part as it was given.

    Raises:
        DataError: a class has too few images.
    """
    rows = len(y) - given_test
    if not given_test:
        return stratified(y, classes, SHARES, seed=seed, name=name)
    parts = stratified(y[:rows], classes, APART, seed=seed, name=name)
    return {**parts, "test": np.arange(rows, len(y))}


def deal_in_words(seed: int, *, given_test: bool) -> str:
    """Say how :func:`deal_training` deals."""
    if not given_test:
        return f"stratified by class, seed {seed}: {describe_shares(SHARES)}"
    return f"test part as given, the rest stratified by class, seed {seed}: {describe_shares(APART)}"


def assemble_images(images: Images, parts: Parts, options: LoadOptions) -> Splits:
    """Hand out the parts as float32 from 0 to 1: each level divided by that of white.

    Where a model's inputs are asked for, images are brought to its size and colours, and classes to its own.

    Raises:
        DataError: the model takes no images, or does not know a class.
    """
    images = images.named_by(options.known_classes)
    given = options.made_by(ImagePreprocessor)
    as_given = given is not None and (images.x.shape[1:], images.white, images.framing) == (
        given.shape,
        given.white,
        given.framing,
    )
    if given is not None and not as_given:
        images = replace(images, x=given.levels_of(images.x), white=given.white, resized=True, framing=given.framing)
    scale = f"grey levels 0 to {images.white} divided by {images.white}"
    notes = (*images.provenance.notes, scale, *gaps(images.y, images.classes, parts))
    provenance = replace(images.provenance, notes=notes)
    return Splits(
        **{
            part: Dataset(
                x=_samples(images, rows),  # [n, C, H, W]
                y=torch.from_numpy(images.y[rows].astype(np.int64)),
                classes=images.classes,
                provenance=provenance,
                groups=None if images.groups is None else torch.from_numpy(images.groups[rows].astype(np.int64)),
                group_word=images.group_word,
                positive=images.positive,
                names=tuple(images.names[row] for row in rows.tolist()) if images.names else (),
                preprocessor=images.preprocessor,
            )
            for part, rows in parts.items()
        }
    )


def _samples(images: Images, rows: Indices) -> Tensor:
    if images.x.size > MOST_VALUES:
        return Packed(torch.from_numpy(images.x), torch.from_numpy(rows), images.white)
    return torch.from_numpy(images.x[rows]).float().div_(images.white)


def checksum_of(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over files, each by its name and its own sum, in the order given."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()
