"""ECG-ATK-GAN's own detector: the head of its discriminator that tells attacked beats from clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from salus.classifier import Classifier, States
from salus.detectors.base import Detector
from salus.detectors.calibration import ReferenceScores
from salus.errors import ModelError

LAYER = "attacked"


class AttackedHead(Detector):
    """Rejects an input that the classifier itself takes for attacked (ECG-ATK-GAN, Eq. 1; four-attack paper, Eq. 10).

    The score is the difference of the two logits of the layer ``attacked``, attacked minus clean, whatever the class.
    The head was trained together with the classifier, so nothing is fitted here but the threshold.
    """

    name: ClassVar[str] = "attacked-head"
    hardening: ClassVar[str | None] = "ecg-atk-gan"

    @property
    def layers(self) -> tuple[str, ...]:
        """The head's layer."""
        return (LAYER,)

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> AttackedHead:
        """Take the classifier, whose head is trained already, and check that it has one.

        Raises:
            ModelError: it has no layer ``attacked`` of two values.
        """
        self.check_classifier(classifier)
        if classifier.states(x[:1], self.layers).hidden[LAYER].shape[1] != 2:
            raise ModelError(f"Classifier {classifier.name!r}: its layer {LAYER!r} does not give two values; {_REMEDY}")
        self.classifier_ = classifier
        return self

    def check_classifier(self, classifier: Classifier) -> None:
        """Refuse a classifier without the head.

        Raises:
            ModelError: naming what trains one.
        """
        if LAYER not in classifier.layer_names:
            raise ModelError(
                f"Classifier {classifier.name!r} has no layer {LAYER!r} for {self.name} to read; {_REMEDY}"
            )

    def class_scores(self, states: States) -> Tensor:
        """Return the attacked logit minus the clean one under each class, ``[N, K]``; differentiable."""
        clean, attacked = states.hidden[LAYER].unbind(1)  # [N] each
        return (attacked - clean)[:, None].expand(-1, states.logits.shape[1])

    def describe(self) -> str:
        """Say what was calibrated, for reports."""
        return (
            f"The classifier's own head for attacked inputs (layer {LAYER}); conformal threshold at "
            f"{self.false_alarm_rate_:g} false alarms"
        )

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        return {"suspicion_threshold": self.threshold_, "false_alarm_rate": self.false_alarm_rate_}

    def tensors(self) -> dict[str, Tensor]:
        """Return the reference scores."""
        return self._reference.tensors("reference")

    @classmethod
    def restore(
        cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> AttackedHead:
        """Rebuild the detector."""
        detector = cls()
        detector.check_classifier(classifier)
        detector.classifier_ = classifier
        detector.threshold_ = float(settings["suspicion_threshold"])
        detector.false_alarm_rate_ = float(settings["false_alarm_rate"])
        detector.reference_ = ReferenceScores.restore(tensors, "reference")
        return detector


_REMEDY = "train a classifier that has one by `salus harden ecg-atk-gan`, and name its folder by --model."
