"""A detector that learns tensors: its options are those of its constructor, and it is saved with what it learnt."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from salus.classifier import Classifier
from salus.detectors.base import Detector
from salus.detectors.calibration import ReferenceScores
from salus.errors import OptionError

F = TypeVar("F", bound="FittedDetector")

_LEARNT = ("notes", "suspicion_threshold", "false_alarm_rate")


class FittedDetector(Detector):
    """Keeps every constructor option as an attribute of the same name, and what it learns in ``learnt_``.

    Attributes:
        notes_: what a reader of a report should know about the fit, in words.
        learnt_: the learnt tensors by name.
    """

    #: The method's name in sentences.
    title: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.notes_: list[str] = []
        self.learnt_: dict[str, Tensor] = {}

    def learnt(self, name: str, like: Tensor) -> Tensor:
        """Return a learnt tensor on the device of another one, and keep it there."""
        if self.learnt_[name].device != like.device:
            self.learnt_[name] = self.learnt_[name].to(like.device)
        return self.learnt_[name]

    @property
    def rule(self) -> str:
        """What set the threshold, in words."""
        return f"conformal threshold at {self.false_alarm_rate_:g} false alarms"

    def options(self) -> dict[str, Any]:
        """Return the constructor's options with their values."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in self.options().items()}
        learnt = (self.notes_, self.threshold_, self.false_alarm_rate_)
        return {**plain, **dict(zip(_LEARNT, learnt, strict=True))}

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learnt, and the reference scores."""
        return {**self.learnt_, **self._reference.tensors("reference")}

    @classmethod
    def restore(cls: type[F], classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> F:
        """Rebuild the detector."""
        detector = cls(**{key: value for key, value in settings.items() if key not in _LEARNT})
        detector.classifier_ = classifier
        detector.notes_ = [str(note) for note in settings["notes"]]
        detector.threshold_ = float(settings["suspicion_threshold"])
        detector.false_alarm_rate_ = float(settings["false_alarm_rate"])
        detector.learnt_ = {key: tensor for key, tensor in tensors.items() if not key.startswith("reference|")}
        detector.reference_ = ReferenceScores.restore(tensors, "reference")
        return detector

    def check_whole(self, least: int, **numbers: int | None) -> None:
        """Refuse options that are no whole numbers from ``least`` up; None passes.

        Raises:
            OptionError: naming the option.
        """
        for option, number in numbers.items():
            if number is not None and (type(number) is not int or number < least):
                raise OptionError(f"{self.title}: {option} must be a whole number from {least} up, not {number!r}.")

    def whole_numbers(self, option: str, given: Any, least: int, most: int | None = None) -> tuple[int, ...]:
        """Read one whole number or several, in a sequence or joined by ``+``.

        Raises:
            OptionError: it is none, or one is out of range.
        """
        several = given.split("+") if isinstance(given, str) else given
        parts = list(several) if isinstance(several, (list, tuple)) else [several]
        numbers = [int(part) if isinstance(part, str) and part.strip().isdecimal() else part for part in parts]
        if not numbers or not all(type(n) is int and least <= n and (most is None or n <= most) for n in numbers):
            reach = f"from {least} up" if most is None else f"from {least} to {most}"
            raise OptionError(f"{self.title}: {option} must be whole numbers {reach}, joined by +, not {given!r}.")
        return tuple(numbers)
