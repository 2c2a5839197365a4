"""A detector that learns tensors: its options are those of its constructor, and it is saved with what it learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from salus.classifier import Classifier
from salus.detectors.base import Detector
from salus.detectors.calibration import ReferenceScores
from salus.options import option_names

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
        return {name: getattr(self, name) for name in option_names(type(self))}

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
