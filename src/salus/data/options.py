"""What can be asked of a loader, declared once, so that Python, the command line and plans ask alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from salus.data.context import check_inputs
from salus.declared import DeclaredModel
from salus.errors import OptionError, nearest
from salus.options import Words, named, options_of, parse_value

#: Options that every kind of data takes: the draw, and where downloaded sets are looked for.
UNIVERSAL = frozenset({"name", "seed", "data_dir"})


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
        split: how samples are dealt, where there is a choice (``beats``, ``patients``, ``ds1-ds2``; ``lesions``,
            ``images``); of images also ``all``: every one is a test image, for a model that was trained elsewhere.
        bounds: lowest and highest value that samples may have, when these are not (0, 1).
        data_dir: the first place where a downloaded set is looked for.
        label: the CSV column that holds the label.
        group_by: who is who: the CSV column (or the array of an ``.npz`` file) that holds the patient, a pattern on the
            samples' names with one group, ``(patient\d+)_``, or a CSV file with the columns ``name`` and ``group``.
        ignore: CSV columns that are neither label nor feature.
        scale: min-max scaling fitted on the training part.
        smote: samples per class in the training part after balancing with SMOTE.
        without_mlii: for MIT-BIH records that lack lead MLII: read ``v5`` (the default) or ``drop`` them.
        inputs: the channels of a heartbeat, of ``salus.data.context.CHANNELS``; the beat alone by default.
        size: of images, height and width, or one number for both: each is scaled to cover it and cropped in the
            middle.
        immutable: table features that never change.
        integer: table features that take whole numbers.
        derived: table features that follow from others.
        positive: classes that mean disease; of skin lesions also the name of a health map, ``malignant`` or
            ``thesis``.

    Raises:
        OptionError: an option is none of what it may be.
    """

    split: Annotated[
        str | None,
        Field(
            description="how samples are dealt: beats, patients, ds1-ds2; of skin: lesions, images; of images also "
            "all: every one is a test image, for a model trained elsewhere and guards that learn nothing"
        ),
    ] = None
    bounds: Annotated[
        Bounds | None, Field(description="lowest and highest value of x, LOW,HIGH, when they are not 0,1")
    ] = None
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None
    label: Annotated[str | None, Field(description="the CSV column that holds the label")] = None
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
        Names, Field(description="channels of a heartbeat, comma-separated (beat,previous,next,rhythm)")
    ] = ("beat",)
    size: Annotated[
        Size | None, Field(description="pixels to which images are scaled and cropped: 224, or HEIGHTxWIDTH")
    ] = None
    immutable: Annotated[Names, Field(description="features that never change, comma-separated")] = ()
    integer: Annotated[Names, Field(description="features that take whole numbers")] = ()
    derived: Annotated[Names, Field(description="features that follow from others")] = ()
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
