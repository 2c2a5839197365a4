"""What MagNet's and MultiMagNet's detectors share: autoencoders, what is measured on their answers, and two rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier
from salus.detectors.base import Detector
from salus.detectors.divergence import jensen_shannon, log_probabilities, reconstruction_error
from salus.errors import CalibrationError
from salus.generative import Repository
from salus.generative.autoencoder_choice import AutoencoderChoice

R = TypeVar("R", bound="ReconstructionDetector")

Metric = Annotated[
    Literal["re", "jsd"], Field(description="what is measured: reconstruction error, or divergence of the answers")
]
Rule = Annotated[
    Literal["conformal", "drop-rate"],
    Field(description="what sets the threshold: conformal calibration, or the paper's rule"),
]
DropRate = Annotated[float, Field(gt=0, lt=1, description="share of clean samples that the paper's rule rejects")]

_LEARNT = ("repository", "suspicion_threshold", "false_alarm_rate")


class ReconstructionDetector(Detector):
    """Compares inputs with what autoencoders of clean samples make of them.

    Args:
        choice: which autoencoders.
        threshold: ``conformal``, or the papers' ``drop-rate``.

    Attributes:
        repository_: the autoencoders, after fitting.
    """

    #: The method's name in sentences.
    title: ClassVar[str]

    def __init__(self, choice: AutoencoderChoice, threshold: Rule) -> None:
        super().__init__()
        self.choice = choice
        self.threshold = threshold
        self.repository_: Repository | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """None: what it reads of the classifier are its answers."""
        return ()

    @property
    def own_rule(self) -> bool:
        """Whether the paper's rule has set the threshold."""
        return self.threshold != "conformal"

    @property
    def _repository(self) -> Repository:
        if self.repository_ is None:
            raise CalibrationError(f"{self.title} is not fitted yet: call fit(classifier, x, y) first.")
        return self.repository_

    def compared(self, x: Tensor, logits: Tensor, made: Tensor, temperature: float | None, norm: int = 1) -> Tensor:
        """Measure inputs x ``[N, ...]`` against their reconstructions, ``[N]``; differentiable.

        Args:
            x: the inputs.
            logits: the classifier's answers to them ``[N, K]``.
            made: the reconstructions ``[N, ...]``.
            temperature: of the softmaxes whose Jensen-Shannon divergence is taken; None: the reconstruction error.
            norm: the power in that error.
        """
        if temperature is None:
            return reconstruction_error(x, made, norm)
        answers = (log_probabilities(each, temperature) for each in (logits, self.classifier(made)))
        return jensen_shannon(*answers)

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        return {
            "threshold": self.threshold,
            "seed": self.choice.options.seed,
            "repository": self._repository.settings(),
            "suspicion_threshold": self.threshold_,
            "false_alarm_rate": self.false_alarm_rate_,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the autoencoders' weights; detectors add what they learnt of clean samples."""
        return {f"repository|{name}": tensor for name, tensor in self._repository.tensors().items()}

    @classmethod
    def restore(cls: type[R], classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> R:
        """Rebuild the detector."""
        own = {name.partition("|")[2]: t for name, t in tensors.items() if name.startswith("repository|")}
        repository = Repository.restore(settings["repository"], own)
        plain = {key: value for key, value in settings.items() if key not in _LEARNT}
        detector = cls(**plain, repository=repository)  # type: ignore[call-arg]
        detector.classifier_, detector.repository_ = classifier, repository
        detector.threshold_ = float(settings["suspicion_threshold"])
        detector.false_alarm_rate_ = float(settings["false_alarm_rate"])
        return detector
