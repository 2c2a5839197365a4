"""Loading any data by name or by path, and what there is to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.data.base import Splits
from salus.data.cifar10 import load_cifar10
from salus.data.csv_table import load_csv
from salus.data.duplicates import tell_duplicates
from salus.data.embedded import load_breast_cancer, load_digits
from salus.data.idx import load_fashion_mnist, load_mnist
from salus.data.image_folder import is_image_folder, load_image_folder
from salus.data.incartdb import load_incartdb
from salus.data.mitdb import load_mitdb
from salus.data.npz_file import load_npz
from salus.data.options import UNIVERSAL, DataOptions, LoadOptions, parse_options
from salus.data.pinned import CIFAR10, FASHION_MNIST, MNIST, PinnedSet
from salus.data.places import find_set
from salus.data.ptbdb import load_ptbdb
from salus.data.published import INCARTDB, MITDB, PTBDB, SVDB, PublishedSet
from salus.data.skin_lesions import load_ham10000, load_isic2018
from salus.data.skin_sets import HAM10000, ISIC2018, SkinSet
from salus.data.svdb import load_svdb
from salus.data.wfdb_folder import load_wfdb_folder
from salus.errors import DataError, OptionError
from salus.options import Option, options_of
from salus.preprocessing import (
    ArrayPreprocessor,
    ImagePreprocessor,
    Preprocessor,
    RecordingPreprocessor,
    TablePreprocessor,
)
from salus.preprocessing.csv_file import SUFFIXES
from salus.preprocessing.wfdb_files import is_record
from salus.registry import Registry


def _nothing(path: Path) -> bool:
    return False


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A data set, or a kind of data of one's own: what it is, how it is loaded, which options have a sense for it.

    Attributes:
        name: as users write it.
        loader: loads it.
        kind: ``table``, ``signal``, ``image``, or ``arrays`` of any of them.
        summary: what it is, in a line.
        licence: of a data set.
        home: its address.
        options: those of :class:`DataOptions` that apply, beside those that every kind of data takes.
        reads: tells whether a file or folder is of this kind; its path is then the name in the loader's options.
        published: what is downloaded of it; None where nothing has to be.
    """

    name: str
    loader: Callable[[LoadOptions], Splits]
    kind: str
    summary: str
    licence: str = ""
    home: str = ""
    options: frozenset[str] = frozenset()
    reads: Callable[[Path], bool] = _nothing
    published: PublishedSet | PinnedSet | SkinSet | None = None

    def declared_options(self) -> tuple[Option, ...]:
        """List the options that apply; see ``salus.options.options_of``."""
        return tuple(option for option in options_of(DataOptions) if option.name in self.options | UNIVERSAL)


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A line of the catalogue."""

    name: str
    kind: str
    summary: str
    licence: str
    home: str
    at_hand: bool


_LESION_OPTIONS = frozenset({"split", "size", "resize", "positive"})

_SETS = (
    Source(
        name="breast-cancer",
        loader=load_breast_cancer,
        kind="table",
        summary="569 patients, 30 measurements of cell nuclei, malignant or benign",
        licence="CC BY 4.0",
        home="https://archive.ics.uci.edu/dataset/17",
        options=frozenset({"immutable", "integer", "derived", "ranges"}),
    ),
    Source(
        name="cifar10",
        loader=load_cifar10,
        kind="image",
        summary="CIFAR-10: 60,000 colour photographs, 32x32, ten classes",
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated",
        published=CIFAR10,
    ),
    Source(
        name="digits",
        loader=load_digits,
        kind="image",
        summary="1,797 handwritten digits of 8x8 pixels, ten classes",
        licence="CC BY 4.0",
        home="https://archive.ics.uci.edu/dataset/80",
    ),
    Source(
        name="fashion-mnist",
        loader=load_fashion_mnist,
        kind="image",
        summary="Fashion-MNIST: 70,000 pictures of clothes, 28x28, ten classes",
        licence="MIT",
        home="https://github.com/zalandoresearch/fashion-mnist",
        published=FASHION_MNIST,
    ),
    Source(
        name="ham10000",
        loader=load_ham10000,
        kind="image",
        summary="HAM10000: 10,015 dermatoscopic pictures of 7,470 skin lesions, 450x600, seven classes",
        licence=HAM10000.licence,
        home="https://doi.org/10.7910/DVN/DBW86T",
        options=_LESION_OPTIONS,
        published=HAM10000,
    ),
    Source(
        name="incartdb",
        loader=load_incartdb,
        kind="signal",
        summary="St Petersburg INCART Database: over 175,000 heartbeats of 32 patients, 12 leads, classes N, S, V, F",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/incartdb/1.0.0/",
        options=frozenset({"split", "smote", "inputs", "lead"}),
        published=INCARTDB,
    ),
    Source(
        name="isic2018",
        loader=load_isic2018,
        kind="image",
        summary="ISIC 2018 task 3, training part: the pictures of HAM10000, labelled by ISIC's own tables",
        licence=ISIC2018.licence,
        home="https://challenge.isic-archive.com/data/#2018",
        options=_LESION_OPTIONS,
        published=ISIC2018,
    ),
    Source(
        name="mitdb",
        loader=load_mitdb,
        kind="signal",
        summary="MIT-BIH Arrhythmia Database: 101,451 heartbeats of 47 patients, classes N, S, V, F",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/mitdb/1.0.0/",
        options=frozenset({"split", "smote", "without_mlii", "inputs"}),
        published=MITDB,
    ),
    Source(
        name="mnist",
        loader=load_mnist,
        kind="image",
        summary="MNIST: 70,000 handwritten digits, 28x28, ten classes",
        licence="CC BY-SA 3.0",
        home="http://yann.lecun.com/exdb/mnist/",
        published=MNIST,
    ),
    Source(
        name="ptbdb",
        loader=load_ptbdb,
        kind="signal",
        summary="PTB Diagnostic ECG Database: heartbeats of 52 healthy people and 148 with myocardial infarction",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/ptbdb/1.0.0/",
        options=frozenset({"split", "smote"}),
        published=PTBDB,
    ),
    Source(
        name="svdb",
        loader=load_svdb,
        kind="signal",
        summary="MIT-BIH Supraventricular Arrhythmia Database: heartbeats of 78 records, classes N, S, V, F",
        licence="ODC-By 1.0",
        home="https://physionet.org/content/svdb/1.0.0/",
        options=frozenset({"split", "smote", "inputs", "lead"}),
        published=SVDB,
    ),
)


def _suits(thing: Any) -> str | None:
    return None if isinstance(thing, Source) else "is no salus.data.Source"


#: Every data set with a name, and whatever else other packages read.
SOURCES: Registry[Source] = Registry("data set", "salus.sources", {source.name: source for source in _SETS}, _suits)

_IMAGE_OPTIONS = frozenset({"split", "size", "resize", "positive", "bit_depth", "pages", "window"})
_TABLE_OPTIONS = frozenset({"split", "bounds", "scale", "immutable", "integer", "derived", "ranges", "positive"})

#: One's own data: the first that reads a path has it, after what other packages read.
OWN = (
    Source(
        name="images",
        loader=load_image_folder,
        kind="image",
        summary="a folder of images by class",
        options=_IMAGE_OPTIONS | {"group_by"},
        reads=is_image_folder,
    ),
    Source(
        name="folder",
        loader=load_wfdb_folder,
        kind="signal",
        summary="a WFDB record or a folder of them",
        options=frozenset({"split", "positive", "inputs", "lead", "group_by"}),
        reads=lambda path: path.is_dir() or is_record(path),
    ),
    Source(
        name=".npz",
        loader=load_npz,
        kind="arrays",
        summary="an .npz file",
        options=_TABLE_OPTIONS | {"group_by", "label", "length"},
        reads=lambda path: path.suffix.lower() == ".npz",
    ),
    Source(
        name=".csv",
        loader=load_csv,
        kind="table",
        summary="a CSV file",
        options=_TABLE_OPTIONS | {"label", "group_by", "ignore", "categories", "impute"},
        reads=lambda path: path.suffix.lower() in SUFFIXES,
    ),
)


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
    return load_for(None, name, options)


def load_for(preprocessor: Preprocessor | None, name: str | Path, options: Mapping[str, Any]) -> Splits:
    """Load data for a model: prepared as its training data were, and of its classes, matched by name.

    Args:
        preprocessor: the model's; None: one is fitted on the training part, as :func:`load` does.
        name: as in :func:`load`.
        options: fields of ``LoadOptions``.

    Raises:
        DataError: there is no such data, they are bad, or no inputs of this model.
        OptionError: an option is unknown, makes no sense, or does not apply to this kind of data.
    """
    asked, source = check_request(name, options)
    if preprocessor is not None:
        _refuse_contradiction(preprocessor, asked)
    return tell_duplicates(source.loader(asked.through(preprocessor)))


def check_request(name: str | Path, options: Mapping[str, Any]) -> tuple[LoadOptions, Source]:
    """Say what is asked of which data, before any of them are read.

    Args:
        name: as in :func:`load`.
        options: fields of ``LoadOptions``.

    Raises:
        DataError: there is no such data.
        OptionError: an option is unknown, makes no sense, or does not apply to this kind of data.
    """
    asked = parse_options(name, dict(options))
    source = _source(asked.name)
    asked.refuse_others(source.options, f"the data {source.name!r}" if source.name == asked.name else source.summary)
    return asked, source


def _refuse_contradiction(preprocessor: Preprocessor, asked: LoadOptions) -> None:
    """Refuse options that ask for other inputs than the model was trained on.

    Raises:
        OptionError: naming the first, and what the model has.
    """
    made: dict[str, Any] = {}
    if isinstance(preprocessor, ImagePreprocessor):
        made = {
            "size": preprocessor.size,
            "bit_depth": preprocessor.white.bit_length(),
            "resize": preprocessor.framing.text,
        }
        if preprocessor.window is not None:
            made["window"] = preprocessor.window
    elif isinstance(preprocessor, RecordingPreprocessor):
        made = {"inputs": preprocessor.inputs, "lead": preprocessor.leads}
    elif isinstance(preprocessor, TablePreprocessor):
        words = tuple(column.name for column in preprocessor.columns if column.categories)
        made = {"categories": words}
    if isinstance(preprocessor, (ArrayPreprocessor, TablePreprocessor)):
        scale = True if preprocessor.scaling is not None else "values in their own units"
        made |= {"bounds": preprocessor.bounds, "scale": scale}
    for option in options_of(LoadOptions):
        value = getattr(asked, option.name)
        if option.name in made and value not in (option.default, made[option.name]):
            words = made[option.name]
            raise OptionError(
                f"Option {option.name} {value!r} contradicts the model, which was trained on inputs of {words!r}; "
                "leave it out."
            )


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


def _source(name: str) -> Source:
    """Find a data set by its name, or what reads a file or folder."""
    if name in SOURCES:
        return SOURCES[name]
    path = Path(name)
    reader = next((source for source in (*SOURCES.values(), *OWN) if source.reads(path)), None)
    if path.exists() or is_record(path):
        if reader is not None:
            return reader
        raise DataError(
            f"File {path} is of no kind that Salus reads; bring .npz, .csv, "
            "a WFDB record, or a folder of recordings or of images."
        )
    if reader is not None or path.name != name:
        raise DataError(f"There is no file or folder {name}; check the path.")
    try:
        return SOURCES.find(name)
    except OptionError as error:
        raise DataError(f"{error} Nor is there a file or folder of that name.") from error
