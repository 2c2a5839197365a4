"""Defense-GAN's detector: inputs far from all that a generator can make (Samangouei et al., ICLR 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from salus.classifier import Classifier, States
from salus.detectors.base import Detector
from salus.detectors.calibration import ReferenceScores
from salus.generative.projection import OntoRange


class DefenseGAN(OntoRange, Detector):
    """Rejects an input that the generator cannot make anything like of.

    The score is ``min_z ||G(z) - x||^2``, sought by R descents of L steps (Section 3; detection: Section 4.3). Its
    gradient in x is ``2 (x - G(z*))``, with the latent held: at a minimum over z that is the whole gradient, because
    the score does not change with z there (envelope theorem). After L steps it is as exact as the descents are done;
    nothing is unrolled. An attacker who searches the generator's range instead finds it in :attr:`generator`, and the
    latents to start from in :meth:`project`.

    Its options are those of :class:`salus.generative.projection.OntoRange`.
    """

    name: ClassVar[str] = "defense-gan"

    @property
    def layers(self) -> tuple[str, ...]:
        """None: the raw input is judged."""
        return ()

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> DefenseGAN:
        """Take the generator, or train one on clean samples x ``[N, ...]``; labels are not used.

        Raises:
            ModelError: the generator makes other samples than these, or its training failed.
        """
        self.find_generator(classifier, x)
        self.classifier_ = classifier
        return self

    def class_scores(self, states: States) -> Tensor:
        """Return the squared distance from the generator's range under each class, ``[N, K]``; differentiable."""
        nearest = self.project(states.x.detach()).x
        distance = (states.x - nearest).square().flatten(1).sum(1)  # [N]
        return distance[:, None].expand(-1, states.logits.shape[1])

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        samples = self.generator.facts.get("samples", "unknown")
        return (
            f"Defense-GAN with {self.restarts} descents of {self.iterations} steps each, on a "
            f"generator trained on {samples} samples; conformal threshold at {self.false_alarm_rate_:g} false alarms"
        )

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        return {
            **self.made_with(),
            "suspicion_threshold": self.threshold_,
            "false_alarm_rate": self.false_alarm_rate_,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the generator's weights and the reference scores."""
        return {**self.weights(), **self._reference.tensors("reference")}

    @classmethod
    def restore(cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> DefenseGAN:
        """Rebuild the detector."""
        learnt = ("suspicion_threshold", "false_alarm_rate")
        own = {key: value for key, value in settings.items() if key not in learnt}
        detector = cls(**cls.options_of(own, tensors))
        detector.classifier_ = classifier
        detector.threshold_ = float(settings["suspicion_threshold"])
        detector.false_alarm_rate_ = float(settings["false_alarm_rate"])
        detector.reference_ = ReferenceScores.restore(tensors, "reference")
        return detector
