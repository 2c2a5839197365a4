"""How a folder of images is laid out: by class, by part and class, or by class and part, however they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from salus.data.folder_tree import FolderTree, some
from salus.data.masks import refuse_masks_as_class, split_masks
from salus.data.sides import SIDES
from salus.errors import DataError
from salus.preprocessing.image_files import is_image_file
from salus.progress import console

#: What a part is called -> the part.
PARTS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip

#: Words that may stand beside it: ``train_set``, ``test images``, ``seg_train``.
_FILLERS = frozenset({"data", "dataset", "folder", "images", "image", "imgs", "img", "part", "seg", "set", "split"})


@dataclass(frozen=True)
class ClassFolder:
    """A folder of images of one class and side.

    Attributes:
        place: the folder.
        label: the class that it is called after.
        side: ``train``, ``val`` or ``test``.
        images: the files, sorted.
    """

    place: Path
    label: str
    side: str
    images: tuple[Path, ...]


@dataclass(frozen=True)
class ImageLayout:
    """The class folders below a folder, training first, then validation, then test.

    Attributes:
        folders: the class folders.
        classes: names of classes, sorted as text, as torchvision sorts them.
        notes: what was assumed, and what was passed over.
    """

    folders: tuple[ClassFolder, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def need_training(self) -> None:
        """Refuse a layout that leaves nothing, or not every class, to train on.

        Raises:
            DataError: naming what is missing.
        """
        trained = [folder for folder in self.folders if folder.side == "train"]
        if not trained:
            places = some([str(place) for place in dict.fromkeys(folder.place.parent for folder in self.folders)])
            raise DataError(
                f"There is no folder of training images beside {places}; add one (train), name one of these folders "
                "itself to have its images dealt, or let all be test images (--split all)."
            )
        known = {folder.label for folder in trained}
        for folder in self.folders:
            if folder.label not in known:
                raise DataError(
                    f"Folder {folder.place} is of a class that training lacks; its classes: {some(sorted(known))}. "
                    "Take it away, add images to train on, or let all be test images (--split all)."
                )


def part_of(name: str) -> str | None:
    """Tell which part a folder holds by its name; None where it is called by no part."""
    words = [word for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name) if word]
    words = [word.casefold() for word in words]
    if len(words) == 1:
        words = [words[0].removesuffix("set").removesuffix("data") or words[0]]
    parts = [PARTS[word] for word in words if word in PARTS]
    return parts[0] if len(parts) == 1 and all(word in PARTS or word in _FILLERS for word in words) else None


def read_layout(folder: Path) -> ImageLayout:
    """Find the class folders.

    Raises:
        DataError: there are none, a class has no images, or the folder can be read in two ways.
    """
    tree = FolderTree(folder)
    notes: list[str] = []
    root = _descend(tree, folder)
    if root != folder:
        notes.append(f"read from the folder {root.relative_to(folder).as_posix()} in it")
    parts = _parts(tree, root, notes)
    if parts is None:
        parts = _parts_below_classes(tree, root, notes)
    folders, others, masks = [], 0, []
    for side in SIDES:
        for place in parts.get(side, ()):
            files = sorted(tree.walk(place))
            images = [path for path in files if is_image(path)]
            others += len(files) - len(images)
            images, left = split_masks(place, images)
            masks += left
            if side == "train" and not images:
                raise DataError(f"Folder {place} holds no images; take it away, or add images of the class.")
            folders.append(ClassFolder(place, place.name, side, tuple(images)))
    folders = _one_spelling(folders, notes)
    for side in SIDES:
        refuse_masks_as_class({each.place: each.images for each in folders if each.side == side})
    if masks:
        warning = f"{len(masks)} masks beside images are left out: {some(_names(masks))}; rename them if they are none"
        notes.append(_warn(folder, warning))
    notes += _told(folders)
    notes += [f"{others} files passed over that are no images by their names"] if others else []
    return ImageLayout(tuple(folders), tuple(sorted({each.label for each in folders})), (*notes, *tree.notes()))


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image."""
    return is_image_file(path)


def _descend(tree: FolderTree, folder: Path) -> Path:
    """Go down while one folder alone holds images, and these by further folders."""
    root = folder
    while not any(map(is_image, tree.files(root))):
        holding = [top for top in tree.folders(root) if any(map(is_image, tree.walk(top)))]
        if len(holding) != 1 or part_of(holding[0].name) or not tree.folders(holding[0]):
            break
        root = holding[0]
    return root


def _parts(tree: FolderTree, root: Path, notes: list[str]) -> dict[str, list[Path]] | None:
    """The class folders of each part; None where the folder is not divided into parts.

    Raises:
        DataError: it could be, and could also not be.
    """
    tops = tree.folders(root)
    called = [top for top in tops if part_of(top.name)]
    divided = [top for top in called if tree.folders(top)]
    others = [top for top in tops if top not in called]
    flat = [top for top in called if top not in divided]
    if not tops:
        raise DataError(f"Folder {root} has no folders in it; put the images of each class into one of its own.")
    if not divided:
        if {part_of(top.name) for top in flat} - {"test"}:
            beside = f" beside {some(_names(others))}" if others else ""
            raise DataError(
                f"Folder {root} holds {some(_names(flat))}{beside}, with images but without folders of classes in "
                "them; put the images of each class into a folder of its own in each part, or rename what is a class."
            )
        return None
    parts: dict[str, Path] = {}
    for top in divided:
        if (other := parts.setdefault(str(part_of(top.name)), top)) != top:
            raise DataError(
                f"Folder {root} holds {other.name} and {top.name}, which could both be the part "
                f"{part_of(top.name)}; put them together, or move one away."
            )
    classes = [top for top in others if any(map(is_image, tree.files(top)))]
    if classes:
        raise DataError(
            f"Folder {root} holds {some(_names(divided))}, which are called like parts, and beside them "
            f"{some(_names(classes))} with images, which look like classes; move the ones or the others away."
        )
    if flat:
        count = sum(is_image(path) for top in flat for path in tree.files(top))
        warning = f"{count} images in {some(_names(flat))} are left out: no folders there say of which class they are"
        notes.append(_warn(root, warning))
    if others:
        notes.append(_warn(root, f"folders passed over: {some(_names(others))}"))
    _tell_beside(tree, [root, *divided], notes)
    return {side: tree.folders(place) for side, place in parts.items()}


def _parts_below_classes(tree: FolderTree, root: Path, notes: list[str]) -> dict[str, list[Path]]:
    """The class folders of a folder that is not divided, or whose classes each are."""
    classes = tree.folders(root)
    _tell_beside(tree, [root], notes)
    below = {place: tree.folders(place) for place in classes}
    called = [each for folders in below.values() for each in folders if part_of(each.name)]
    if not called:
        return {"train": classes}
    strange = [each for folders in below.values() for each in folders if not part_of(each.name)]
    loose = [place for place in classes if not below[place] or any(map(is_image, tree.files(place)))]
    place = next(iter([*strange, *loose]), called[0])
    raise DataError(
        f"Folder {called[0]} could be a part of the class {called[0].parent.name}, or hold more images of it"
        + (f", as {place} does" if place != called[0] else "")
        + f"; put the parts above the classes ({called[0].name}/{called[0].parent.name}), or rename the folder."
    )


def _one_spelling(folders: Sequence[ClassFolder], notes: list[str]) -> list[ClassFolder]:
    """Call a class as training does where another part writes it in other letters.

    Raises:
        DataError: one part has both spellings.
    """
    spelled: dict[str, str] = {}
    seen: dict[tuple[str, str], Path] = {}
    result, changed = [], []
    for each in folders:
        key = re.sub(r"[\s_-]", "", each.label.casefold()) or each.label
        if (other := seen.setdefault((each.side, key), each.place)) != each.place:
            raise DataError(
                f"Folders {other} and {each.place} could be one class or two; put them together, or give them names "
                "that differ in more than capitals and spaces."
            )
        label = spelled.setdefault(key, each.label)
        if label != each.label:
            changed.append(f"{each.side}/{each.label} is {label}")
        result.append(ClassFolder(each.place, label, each.side, each.images))
    if changed:
        notes.append(f"classes that are spelled differently: {some(changed)}")
    return result


def _tell_beside(tree: FolderTree, places: Sequence[Path], notes: list[str]) -> None:
    """Say which images lie beside the class folders, of no class."""
    images = [path for place in places for path in tree.files(place) if is_image(path)]
    if images:
        warning = f"{len(images)} images beside the folders of classes are left out: {some(_names(images))}"
        notes.append(_warn(tree.folder, warning))


def _told(folders: Sequence[ClassFolder]) -> list[str]:
    """Say what else people may not expect: the order of numbers, and folders in class folders."""
    notes = []
    labels = sorted({each.label for each in folders})
    if all(label.isdecimal() for label in labels) and labels != sorted(labels, key=int):
        notes.append(f"classes are in the order of their names as text, as torchvision has them: {some(labels)}")
    nested = next((path for each in folders for path in each.images if path.parent != each.place), None)
    if nested is not None:
        notes.append(
            f"images lie in folders within their class folders ({nested.parent.parent.name}/{nested.parent.name}); if "
            "these are patients, write --group-by '([^/]+)/[^/]+$'"
        )
    return notes


def _warn(folder: Path, sentence: str) -> str:
    console.print(f"WARNING: {folder.resolve().name}: {sentence}", markup=False)
    return sentence


def _names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]
