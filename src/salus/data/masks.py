"""Masks that lie beside the images that they belong to: no images of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from salus.errors import DataError

_WORDS = "masks?|segmentations?|seg|gt|ground_?truth|annotations?|superpixels|overlay|contours?"

#: ``benign (1)_mask_2`` -> the image's name, ``benign (1)``.
_OF_AN_IMAGE = re.compile(rf"(.+?)[\s_.-]+(?:{_WORDS})[\s_.-]*\d*", re.IGNORECASE)

#: Folders that hold masks, by their names without marks.
_FOLDERS = frozenset({"mask", "masks", "seg", "segmentation", "segmentations", "groundtruth", "gt", "annotations"})

#: Those of them that no class is called by.
_NO_CLASSES = _FOLDERS - {"mask", "seg", "gt"}


def split_masks(place: Path, images: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell the images of a class folder from the masks that lie beside them.

    A mask is called after an image in the same folder (``scan_mask.png`` beside ``scan.png``), or lies in a folder of
    masks (``masks/scan.png`` beside ``images/scan.png``).

    Raises:
        DataError: a folder of masks by its name holds files that are called as no image is.
    """
    apart = [path for path in images if any(_is_mask_folder(part) for part in path.relative_to(place).parts[:-1])]
    aside = set(apart)
    rest = [path for path in images if path not in aside]
    stems = {path.stem for path in rest}
    if apart:
        strangers = [path for path in apart if stems.isdisjoint(_called_after(path.stem))]
        if 2 * len(strangers) > len(apart):
            raise DataError(
                f"Folder {strangers[0].parent} holds masks by its name, but {strangers[0].name} is called as no image "
                f"of the class {place.name}; move the folder away if they are masks, rename it if they are images."
            )
    beside = {(path.parent, path.stem) for path in rest}
    masks = {path for path in rest if any((path.parent, stem) in beside for stem in _called_after(path.stem)[1:])}
    return [path for path in rest if path not in masks], sorted([*apart, *masks])


def refuse_masks_as_class(places: dict[Path, Sequence[Path]]) -> None:
    """Refuse a class folder of masks: one that is called so, and whose files are called as images of the others.

    Args:
        places: class folder -> its images.

    Raises:
        DataError: naming the folder, and the two ways to read it.
    """
    for place, images in places.items():
        if _plain(place.name) not in _NO_CLASSES:
            continue
        others = [other for other in places if other != place]
        stems = {path.stem for other in others for path in places[other]}
        twins = sum(not stems.isdisjoint(_called_after(path.stem)) for path in images)
        if images and 2 * twins >= len(images):
            raise DataError(
                f"Folder {place} holds masks by its name and by the names of its files, which are those of images in "
                f"{', '.join(other.name for other in others)}; move it away if they are masks, rename it if it is a "
                "class."
            )


def _called_after(stem: str) -> list[str]:
    """What the image of a mask may be called: as the mask is, or without the word for it."""
    match = _OF_AN_IMAGE.fullmatch(stem)
    return [stem, match[1]] if match else [stem]


def _is_mask_folder(name: str) -> bool:
    return _plain(name) in _FOLDERS


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())
