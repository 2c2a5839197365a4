"""What can be asked of a loader, declared once, so that Python, the command line and plans ask alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from salus.declared import DeclaredModel
from salus.errors import DataError, OptionError, nearest
from salus.options import Words, named, options_of, parse_value
from salus.preprocessing import Preprocessor
from salus.preprocessing.context import check_inputs
from salus.preprocessing.dicom_images import Window, read_window
from salus.preprocessing.framing import Framing

P = TypeVar("P", bound=Preprocessor)

#: Options that every kind of data takes: the draw, and where downloaded sets are looked for.
UNIVERSAL = frozenset({"name", "seed", "data_dir", "classes"})


def _names(value: Any) -> Any:
    """Split text at its commas; what YAML takes for a number is a name all the same."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return value
    return tuple(str(part) if isinstance(part, (int, float)) else part for part in parts)


def _pair(value: Any) -> Any:
    return tuple(parse_value(part.strip()) for part in value.split(",")) if isinstance(value, str) else value


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not low < high:
        raise ValueError("the lower must be the first")
    return bounds


def _sides(value: Any) -> Any:
    """Read ``224``, ``"150x200"`` and ``"150,200"``; one number is both sides."""
    sides = [parse_value(part.strip()) for part in re.split("[x,]", value)] if isinstance(value, str) else value
    sides = [sides] if isinstance(sides, int) else sides
    return tuple(sides) * (3 - len(sides)) if isinstance(sides, (list, tuple)) and len(sides) in (1, 2) else value


def _framing(text: str | None) -> str | None:
    return None if text is None else Framing.parse(text).text


Names = Annotated[tuple[str, ...], BeforeValidator(_names), Words("names, comma-separated")]
Bounds = Annotated[
    tuple[float, float],
    BeforeValidator(_pair),
    AfterValidator(_ascending),
    Words("two finite numbers, LOW,HIGH (the lower first)"),
]
Pixels = Annotated[int, Field(ge=1)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(_sides), Words("a number of pixels, HEIGHTxWIDTH")]


class DataOptions(DeclaredModel):
    r"""How data are to be loaded, whichever they are; a plan and a loader take these over.

    Attributes:
        split: how samples are dealt, where there is a choice (``beats``, ``patients``, ``all-patients``, ``ds1-ds2``;
            ``lesions``, ``images``); of images and one's own data also ``all``: every one is a test sample, for a model
            that was trained elsewhere.
        bounds: lowest and highest value that samples may have, when these are not (0, 1).
        data_dir: the first place where a downloaded set is looked for.
        label: the CSV column that holds the label; of arrays with several labels at once, the one that is asked for.
        group_by: who is who: the CSV column (or the array of an ``.npz`` file) that holds the patient, a pattern on the
            samples' names with one group, ``(patient\d+)_``, or a CSV file with the columns ``name`` and ``group``.
        ignore: CSV columns that are neither label nor feature.
        scale: min-max scaling fitted on the training part.
        smote: samples per class in the training part after balancing with SMOTE.
        without_mlii: for MIT-BIH records that lack lead MLII: read ``v5`` (the default) or ``drop`` them.
        inputs: the channels of a heartbeat, of ``salus.preprocessing.context.CHANNELS``; the beat alone by default.
        size: of images, height and width, or one number for both: each is scaled to cover it and cropped in the
            middle, unless ``resize`` says otherwise.
        resize: of images, how they are brought to the size, in words of ``salus.preprocessing.framing.Framing``:
            ``bicubic``, ``bicubic,centre,256``, ``bilinear,squash``; as its configuration says, of a network of timm's,
            torchvision's or Hugging Face's.
        bit_depth: of images, how many bits their levels use, where files of 16 bits do not say so.
        pages: of images of several pages, ``first``: the first is read; such images are left out otherwise.
        window: of DICOM images that name several windows, or none, which is looked through: ``first``, or its centre
            and width.
        length: of recordings of several lengths in an ``.npz`` file, which are loaded: those of this many values.
        lead: of recordings, the leads to read, the first that a record has; MLII, or its first, by default.
        categories: table columns that hold words; each word becomes a feature of 0 and 1, which attacks hold fixed.
        impute: what stands for a missing value in a table: the ``median`` or ``mean`` of training, and for words the
            most frequent; refused by default.
        classes: names of the model's classes, in the order of its logits, where it is one's own and the data lack some
            of them.
        immutable: table features that never change.
        integer: table features that take whole numbers.
        derived: table features that follow from others.
        ranges: a CSV file of what table features may become, and what that costs; see ``salus.data.ranges``.
        positive: classes that mean disease; of skin lesions also the name of a health map, ``malignant`` or
            ``thesis``.

    Raises:
        OptionError: an option is none of what it may be.
    """

    split: Annotated[
        str | None,
        Field(
            description="how samples are dealt: beats, patients, all-patients, ds1-ds2; of skin: lesions, images; of "
            "images and of your own data also all: every one is a test sample, for a model trained elsewhere and "
            "guards that learn nothing"
        ),
    ] = None
    bounds: Annotated[
        Bounds | None, Field(description="lowest and highest value of x, LOW,HIGH, when they are not 0,1")
    ] = None
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None
    label: Annotated[
        str | None,
        Field(
            description="the CSV column that holds the label; of an .npz with several labels at once, the one asked for"
        ),
    ] = None
    group_by: Annotated[
        str | None,
        Field(
            description="who is who: a CSV column, a pattern on names with one group such as '(patient\\d+)_', or a "
            "CSV file with the columns name,group"
        ),
    ] = None
    ignore: Annotated[Names, Field(description="CSV columns that are left out, comma-separated")] = ()
    scale: Annotated[bool, Field(description="min-max scaling fitted on the training part")] = False
    smote: Annotated[int | None, Field(ge=1, description="SMOTE to this many training samples per class")] = None
    without_mlii: Annotated[
        Literal["v5", "drop"] | None, Field(description="MIT-BIH records without lead MLII: v5 or drop")
    ] = None
    inputs: Annotated[
        Names,
        Field(description="channels of a heartbeat, comma-separated (beat,previous,next,rhythm; all: docs/data.md)"),
    ] = ("beat",)
    size: Annotated[
        Size | None, Field(description="pixels to which images are scaled and cropped: 224, or HEIGHTxWIDTH")
    ] = None
    resize: Annotated[
        str | None,
        AfterValidator(_framing),
        Field(
            description="how images are scaled: an interpolation (bilinear), cover, centre, squash or border, and a "
            "size before it is cropped: bicubic,centre,256"
        ),
    ] = None
    bit_depth: Annotated[
        int | None, Field(ge=8, le=16, description="bits that the levels of images use, where 16-bit files do not say")
    ] = None
    pages: Annotated[
        Literal["first"] | None, Field(description="of images of several pages: first reads the first alone")
    ] = None
    window: Annotated[
        Window,
        BeforeValidator(read_window),
        Words("first, or two numbers, CENTRE,WIDTH"),
        Field(description="of DICOM images, the window to look through: first of several, or CENTRE,WIDTH"),
    ] = None
    length: Annotated[
        int | None, Field(ge=1, description="of an .npz with recordings of several lengths, the one to load")
    ] = None
    lead: Annotated[Names, Field(description="leads of recordings, the first that a record has is read")] = ()
    categories: Annotated[Names, Field(description="CSV columns that hold words, comma-separated")] = ()
    impute: Annotated[
        Literal["median", "mean"] | None,
        Field(description="what stands for a missing value of a CSV: median or mean of training"),
    ] = None
    classes: Annotated[
        Names, Field(description="classes of a model of your own, in the order of its logits, where the data lack some")
    ] = ()
    immutable: Annotated[Names, Field(description="features that never change, comma-separated")] = ()
    integer: Annotated[Names, Field(description="features that take whole numbers")] = ()
    derived: Annotated[Names, Field(description="features that follow from others")] = ()
    ranges: Annotated[
        Path | None,
        Field(description="a CSV file of what features may become, and its cost: feature,least,most,step,change,cost"),
    ] = None
    positive: Annotated[
        Names, Field(description="classes that mean disease; of skin lesions also malignant or thesis")
    ] = ()

    @model_validator(mode="after")
    def _together(self) -> DataOptions:
        check_inputs(self.inputs)
        if self.scale and self.bounds is not None:
            raise OptionError("Options scale and bounds exclude each other: scaled data lie in (0, 1).")
        return self


class LoadOptions(DataOptions):
    """Which data are to be loaded, and how; each kind of data takes some options and refuses the others by name.

    Attributes:
        name: a known data set, or the path of a file or folder of one's own.
        seed: of the split, and of SMOTE.
    """

    name: Annotated[str, Field(description="a data set, or a file or folder of your own")]
    seed: Annotated[int, Field(ge=0, description="of the split, and of SMOTE")] = 0
    _preprocessor: Preprocessor | None = PrivateAttr(default=None)

    @property
    def preprocessor(self) -> Preprocessor | None:
        """How a model's inputs are made, which all samples then go through; None where it is to be fitted."""
        return self._preprocessor

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The model's classes, in the order of its logits; () where those of the data are to be learnt."""
        return self.classes or (() if self._preprocessor is None else self._preprocessor.classes)

    def made_by(self, kind: type[P]) -> P | None:
        """Give the model's preprocessor, where it is of this kind; None where there is none.

        Raises:
            DataError: it is of another.
        """
        if self._preprocessor is None or isinstance(self._preprocessor, kind):
            return self._preprocessor
        raise DataError(
            f"{self.name} is no input of this model, which takes {self._preprocessor.takes} "
            f"({self._preprocessor.describe()})."
        )

    def through(self, preprocessor: Preprocessor | None) -> LoadOptions:
        """Load what goes through a model's preprocessor."""
        asked = self.model_copy()
        asked._preprocessor = preprocessor
        return asked

    def refuse_others(self, allowed: Iterable[str], what: str) -> None:
        """Refuse every option that was given and has no sense for this kind of data.

        Raises:
            OptionError: naming the first such option, and those that apply.
        """
        allowed = UNIVERSAL | set(allowed)
        for option in options_of(type(self)):
            if option.name not in allowed and getattr(self, option.name) != option.default:
                apply = ", ".join(sorted(allowed - {"name"}))
                raise OptionError(f"Option {option.name} does not apply to {what}; these do: {apply}.")

    def choose_split(self, known: tuple[str, ...]) -> str:
        """Name the split that was asked for; the first known one when none was."""
        if self.split is None:
            return known[0]
        if self.split not in known:
            raise OptionError(f"Data {self.name!r} has no split {self.split!r}; {nearest(self.split, known)}")
        return self.split


def parse_options(name: str | Path, options: dict[str, Any]) -> LoadOptions:
    """Build the options, refusing words that are none."""
    return LoadOptions(**{**named(LoadOptions, options, f"data {str(name)!r}"), "name": str(name)})
