"""What can be asked of a loader, in one place, so that Python, the command line and plans ask alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from salus.data.context import check_inputs
from salus.errors import OptionError, nearest

#: Options that every kind of data takes: the draw, and where downloaded sets are looked for.
UNIVERSAL = frozenset({"name", "seed", "data_dir"})


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How data are to be loaded; each kind of data takes some of these and refuses the others by name.

    Attributes:
        name: a known data set, or the path of a file or folder of one's own.
        split: how samples are dealt, where there is a choice (``beats``, ``patients``, ``ds1-ds2``; ``lesions``,
            ``images``); of images also ``all``: every one is a test image, for a model that was trained elsewhere.
        bounds: lowest and highest value that samples may have, when these are not (0, 1).
        seed: of the split, and of SMOTE.
        data_dir: the first place where a downloaded set is looked for.
        label: the CSV column that holds the label.
        group: the CSV column that holds the patient.
        scale: min-max scaling fitted on the training part.
        smote: samples per class in the training part after balancing with SMOTE.
        without_mlii: for MIT-BIH records that lack lead MLII: read ``v5`` (the default) or ``drop`` them.
        size: of images, height and width, or one number for both: each is scaled to cover it and cropped in the
            middle.
        inputs: the channels of a heartbeat, of ``salus.data.context.CHANNELS``; the beat alone by default.
        immutable: table features that never change.
        integer: table features that take whole numbers.
        derived: table features that follow from others.
        positive: classes that mean disease; of skin lesions also the name of a health map, ``malignant`` or
            ``thesis``.
    """

    name: str
    split: str | None = None
    bounds: tuple[float, float] | None = None
    seed: int = 0
    data_dir: Path | None = None
    label: str | None = None
    group: str | None = None
    scale: bool = False
    smote: int | None = None
    without_mlii: str | None = None
    size: tuple[int, int] | None = None
    inputs: tuple[str, ...] = ("beat",)
    immutable: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in ("inputs", "immutable", "integer", "derived", "positive"):
            object.__setattr__(self, option, _names(getattr(self, option)))
        check_inputs(self.inputs)
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", Path(self.data_dir))
        if self.bounds is not None:
            object.__setattr__(self, "bounds", _bounds(self.bounds))
        if self.size is not None:
            object.__setattr__(self, "size", parse_size(self.size))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise OptionError(f"Option seed must be a whole number from 0 up, not {self.seed!r}.")
        if self.smote is not None and (
            isinstance(self.smote, bool) or not isinstance(self.smote, int) or self.smote < 1
        ):
            raise OptionError(f"Option smote must be the number of samples per class, not {self.smote!r}.")
        if self.without_mlii not in (None, "v5", "drop"):
            raise OptionError(f"Option without_mlii must be 'v5' or 'drop', not {self.without_mlii!r}.")
        if self.scale and self.bounds is not None:
            raise OptionError("Options scale and bounds exclude each other: scaled data lie in (0, 1).")

    def refuse_others(self, allowed: Iterable[str], what: str) -> None:
        """Refuse every option that was given and has no sense for this kind of data.

        Raises:
            OptionError: naming the first such option, and those that apply.
        """
        allowed = UNIVERSAL | set(allowed)
        for field in fields(self):
            if field.name not in allowed and getattr(self, field.name) != field.default:
                apply = ", ".join(sorted(allowed - {"name"}))
                raise OptionError(f"Option {field.name} does not apply to {what}; these do: {apply}.")

    def choose_split(self, known: tuple[str, ...]) -> str:
        """Name the split that was asked for; the first known one when none was."""
        if self.split is None:
            return known[0]
        if self.split not in known:
            raise OptionError(f"Data {self.name!r} has no split {self.split!r}; {nearest(self.split, known)}")
        return self.split


def parse_options(name: str | Path, given: dict[str, Any]) -> LoadOptions:
    """Build the options, refusing words that are none."""
    known = [field.name for field in fields(LoadOptions) if field.name != "name"]
    for word in given:
        if word not in known:
            raise OptionError(f"Data have no option {word!r}; {nearest(word, known)}")
    return LoadOptions(name=str(name), **given)


def parse_size(value: Any) -> tuple[int, int]:
    """Read the height and width of images: ``224``, ``(150, 200)``, ``"150x200"`` or ``"150,200"``.

    Raises:
        OptionError: it is none of these.
    """
    words = [value] if isinstance(value, int) else re.split("[x,]", value) if isinstance(value, str) else value
    try:
        sides = [int(str(word)) for word in words]
    except (TypeError, ValueError):
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise OptionError(f"Option size must be a number of pixels, or HEIGHTxWIDTH, not {value!r}.")
    return sides[0], sides[-1]


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _bounds(value: Any) -> tuple[float, float]:
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise OptionError(f"Option bounds must be two numbers, LOW,HIGH, not {value!r}.") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(f"Option bounds must be two finite numbers, the lower first, not {value!r}.")
    return low, high
