"""Attacks of the Adversarial Robustness Toolbox, ``art:HopSkipJump``."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from salus.attacks.peers.adapter import PeerAttack
from salus.attacks.peers.victim import Victim
from salus.attacks.taxonomy import Knowledge
from salus.errors import OptionError

_KNOWLEDGE: dict[str, Knowledge] = {
    "BoundaryAttack": "answers",
    "GeoDA": "answers",
    "HopSkipJump": "answers",
    "SignOPTAttack": "answers",
    "SpatialTransformation": "answers",
    "PixelAttack": "logits",
    "SimBA": "logits",
    "SquareAttack": "logits",
    "ThresholdAttack": "logits",
    "ZooAttack": "logits",
}
#: They loop over the samples themselves.
_SAMPLE_BY_SAMPLE = {"BoundaryAttack", "GeoDA", "HopSkipJump", "ShadowAttack", "SignOPTAttack", "SimBA"}
#: They refuse any other batch_size.
_SINGLE = {"ShadowAttack", "SimBA"}
_PROBABILITIES = {"SimBA", "VirtualAdversarialMethod"}
_SQUARE_IMAGES = {"GeoDA", "SimBA", "SquareAttack"}
#: Where the norm does not follow from an option.
_L2 = {
    "BoundaryAttack",
    "DeepFool",
    "ElasticNet",
    "NewtonFool",
    "SignOPTAttack",
    "VirtualAdversarialMethod",
    "ZooAttack",
}
#: Universal ones would be judged on the samples that they are fitted to; the others need more than samples and
#: labels, another framework, or another norm.
_LEFT_OUT = re.compile(
    "Universal|Patch|Texture|Flickering|FrameSaliency|FeatureAdversaries|GRAPHITE|LowProFool|TensorFlow|Wasserstein"
)


@dataclass(frozen=True, kw_only=True)
class ArtAttack(PeerAttack):
    """An attack of the Adversarial Robustness Toolbox."""

    library: ClassVar[str] = "Adversarial Robustness Toolbox"
    distribution: ClassVar[str] = "adversarial-robustness-toolbox"
    examples: ClassVar[tuple[str, ...]] = ("HopSkipJump", "ProjectedGradientDescent", "SquareAttack")

    @classmethod
    def catalogue(cls) -> dict[str, Any]:
        """Find the attacks on classifiers by name."""
        evasion = cls.module("art.attacks.evasion")
        classifier = cls.module("art.estimators.classification").PyTorchClassifier
        return {
            name: attack
            for name, attack in vars(evasion).items()
            if inspect.isclass(attack) and hasattr(attack, "generate") and not _LEFT_OUT.search(name)
            # Detectors, speech recognisers and trees have attacks of their own there.
            if (needs := getattr(attack, "_estimator_requirements", ()))
            and all(issubclass(classifier, n) for n in needs)
        }

    @classmethod
    def facts(cls, theirs: Any, takes: frozenset[str]) -> dict[str, Any]:
        """Say what kind of attack it is."""
        name = theirs.__name__
        if "norm" in takes:
            norms: tuple[str, ...] = ("l2", "linf") if name in ("GeoDA", "HopSkipJump") else ("linf", "l2")
        elif name in _L2 or "L2" in name:
            norms = ("l2",)
        elif "LInf" in name or name == "BasicIterativeMethod":
            norms = ("linf",)
        else:
            norms = ("linf", "l2")
        return {
            "norms": norms,
            "knowledge": _KNOWLEDGE.get(name, "gradients"),
            "takes_eps": "eps" in takes,
            "closest": "eps" not in takes,
            "sample_by_sample": name in _SAMPLE_BY_SAMPLE,
            "answers": "probabilities" if name in _PROBABILITIES else "logits",
            "folded": name in _SQUARE_IMAGES,
        }

    def generate(self, victim: Victim, images: Tensor, y: Tensor, *, targeted: bool, seed: int) -> Tensor:
        """Run the attack on NumPy arrays."""
        classes = victim.outputs
        estimator = _estimator()(
            victim,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if images.is_cuda else "cpu",
        )
        eps = None if self.eps is None else self.eps / self._width
        options = self.settings(eps=eps, norm=np.inf if self.norm == "linf" else 2)
        if "targeted" in self.takes:
            options["targeted"] = targeted
        elif targeted:
            raise OptionError(f"{self.title} cannot aim for a class; leave targeted out.")
        if "batch_size" in self.takes:
            options["batch_size"] = 1 if self.theirs.__name__ in _SINGLE else self.batch_size
        attack = self.construct(options, estimator)
        labels = np.eye(classes, dtype=np.float32)[y.cpu().numpy()]
        return torch.from_numpy(np.asarray(attack.generate(x=images.cpu().numpy(), y=labels), dtype=np.float32))


@functools.cache
def _estimator() -> Any:
    """Return ART's classifier, made to differentiate each sample's own class in one backward pass.

    ART takes one for every class that any sample of the batch asks for: ten times the work for ten classes, in every
    step of Carlini and Wagner's attack, for the same gradients.
    """
    from art.estimators.classification import PyTorchClassifier

    class OwnClassGradient(PyTorchClassifier):  # type: ignore[misc]  # ART has no types
        def class_gradient(self, x: Any, label: Any = None, training_mode: bool = False, **kwargs: Any) -> Any:
            if not isinstance(label, np.ndarray) or training_mode:
                return super().class_gradient(x, label, training_mode, **kwargs)
            images = torch.from_numpy(x).to(self.device).requires_grad_()
            own = self.model(images).gather(1, torch.from_numpy(label).to(self.device)[:, None])
            return torch.autograd.grad(own.sum(), images)[0][:, None].cpu().numpy()

    return OwnClassGradient
