"""Loading any data by name or by path, and what there is to load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.data.base import Splits
from salus.data.cifar10 import load_cifar10
from salus.data.csv_table import load_csv
from salus.data.embedded import load_breast_cancer, load_digits
from salus.data.idx import load_fashion_mnist, load_mnist
from salus.data.image_folder import is_image_folder, load_image_folder
from salus.data.mitdb import load_mitdb
from salus.data.npz_file import load_npz
from salus.data.options import LoadOptions, parse_options
from salus.data.pinned import CIFAR10, FASHION_MNIST, MNIST, PinnedSet
from salus.data.places import find_set
from salus.data.ptbdb import load_ptbdb
from salus.data.published import MITDB, PTBDB, PublishedSet
from salus.data.skin_lesions import load_ham10000, load_isic2018
from salus.data.skin_sets import HAM10000, ISIC2018, SkinSet
from salus.data.wfdb_folder import load_wfdb_folder
from salus.errors import DataError, nearest


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of data: what it is, how it is loaded, and which options have a sense for it."""

    loader: Callable[[LoadOptions], Splits]
    kind: str
    summary: str
    licence: str = ""
    home: str = ""
    options: frozenset[str] = frozenset()
    published: PublishedSet | PinnedSet | SkinSet | None = None  # None: nothing has to be downloaded


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A line of the catalogue."""

    name: str
    kind: str
    summary: str
    licence: str
    home: str
    at_hand: bool


_LESION_OPTIONS = frozenset({"split", "size", "positive"})

#: Every data set with a name.
SOURCES: dict[str, Source] = {
    "breast-cancer": Source(
        loader=load_breast_cancer,
        kind="table",
        summary="569 patients, 30 measurements of cell nuclei, malignant or benign",
        licence="CC BY 4.0",
        home="https://archive.ics.uci.edu/dataset/17",
        options=frozenset({"immutable", "integer", "derived"}),
    ),
    "cifar10": Source(
        loader=load_cifar10,
        kind="image",
        summary="CIFAR-10: 60,000 colour photographs, 32x32, ten classes",
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated",
        published=CIFAR10,
    ),
    "digits": Source(
        loader=load_digits,
        kind="image",
        summary="1,797 handwritten digits of 8x8 pixels, ten classes",
        licence="CC BY 4.0",
        home="https://archive.ics.uci.edu/dataset/80",
    ),
    "fashion-mnist": Source(
        loader=load_fashion_mnist,
        kind="image",
        summary="Fashion-MNIST: 70,000 pictures of clothes, 28x28, ten classes",
        licence="MIT",
        home="https://github.com/zalandoresearch/fashion-mnist",
        published=FASHION_MNIST,
    ),
    "ham10000": Source(
        loader=load_ham10000,
        kind="image",
        summary="HAM10000: 10,015 dermatoscopic pictures of 7,470 skin lesions, 450x600, seven classes",
        licence=HAM10000.licence,
        home="https://doi.org/10.7910/DVN/DBW86T",
        options=_LESION_OPTIONS,
        published=HAM10000,
    ),
    "isic2018": Source(
        loader=load_isic2018,
        kind="image",
        summary="ISIC 2018 task 3, training part: the pictures of HAM10000, labelled by ISIC's own tables",
        licence=ISIC2018.licence,
        home="https://challenge.isic-archive.com/data/#2018",
        options=_LESION_OPTIONS,
        published=ISIC2018,
    ),
    "mitdb": Source(
        loader=load_mitdb,
        kind="signal",
        summary="MIT-BIH Arrhythmia Database: 101,451 heartbeats of 47 patients, classes N, S, V, F",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/mitdb/1.0.0/",
        options=frozenset({"split", "smote", "without_mlii", "inputs"}),
        published=MITDB,
    ),
    "mnist": Source(
        loader=load_mnist,
        kind="image",
        summary="MNIST: 70,000 handwritten digits, 28x28, ten classes",
        licence="CC BY-SA 3.0",
        home="http://yann.lecun.com/exdb/mnist/",
        published=MNIST,
    ),
    "ptbdb": Source(
        loader=load_ptbdb,
        kind="signal",
        summary="PTB Diagnostic ECG Database: heartbeats of 52 healthy people and 148 with myocardial infarction",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/ptbdb/1.0.0/",
        options=frozenset({"split", "smote"}),
        published=PTBDB,
    ),
}

_TABLE_OPTIONS = frozenset({"bounds", "scale", "immutable", "integer", "derived", "positive"})

#: One's own data, by what the path is.
OWN: dict[str, Source] = {
    ".npz": Source(loader=load_npz, kind="arrays", summary="an .npz file", options=_TABLE_OPTIONS),
    ".csv": Source(loader=load_csv, kind="table", summary="a CSV file", options=_TABLE_OPTIONS | {"label", "group"}),
    "folder": Source(
        loader=load_wfdb_folder,
        kind="signal",
        summary="a folder of WFDB records",
        options=frozenset({"split", "positive", "inputs"}),
    ),
    "images": Source(
        loader=load_image_folder,
        kind="image",
        summary="a folder of images by class",
        options=frozenset({"split", "size", "positive"}),
    ),
}


def load(name: str | Path, **options: Any) -> Splits:
    """Load a data set by its name, or one's own data by their path.

    Args:
        name: a name of the catalogue, a ``.npz`` or ``.csv`` file, a folder of WFDB records, or a folder of images
            by class.
        **options: fields of ``LoadOptions``.

    Raises:
        DataError: there is no such data, or they are bad.
        OptionError: an option is unknown, makes no sense, or does not apply to this kind of data.

    Example:
        >>> load("breast-cancer").train.x.shape
        torch.Size([283, 30])
    """
    choice = parse_options(name, options)
    source = SOURCES.get(choice.name)
    if source is None:
        source = OWN[_own_kind(choice.name)]
        choice.refuse_others(source.options, source.summary)
    else:
        choice.refuse_others(source.options, f"the data {choice.name!r}")
    return source.loader(choice)


def catalogue(data_dir: Path | None = None) -> list[CatalogueEntry]:
    """List the data sets that have a name, and whether each is on this machine."""
    return [
        CatalogueEntry(
            name=name,
            kind=source.kind,
            summary=source.summary,
            licence=source.licence,
            home=source.home,
            at_hand=source.published is None or find_set(name, source.published.landmarks, data_dir) is not None,
        )
        for name, source in SOURCES.items()
    ]


def _own_kind(name: str) -> str:
    """Say what the path is, by the keys of ``OWN``."""
    path = Path(name)
    if path.is_dir():
        return "images" if is_image_folder(path) else "folder"
    if path.is_file():
        if path.suffix.lower() in OWN:
            return path.suffix.lower()
        raise DataError(
            f"File {path} is of no kind that Salus reads; bring .npz, .csv, a folder of WFDB records or one of images."
        )
    if path.suffix.lower() in OWN or path.name != name:
        raise DataError(f"There is no file or folder {name}; check the path.")
    raise DataError(f"There is no data set {name!r}, nor a file or folder of that name; {nearest(name, SOURCES)}")
