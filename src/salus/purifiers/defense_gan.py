"""Defense-GAN's purifier: the classifier sees what the generator makes of an input (Samangouei et al., ICLR 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from salus.classifier import Classifier
from salus.generative.projection import OntoRange
from salus.purifiers.base import Purifier


class DefenseGANPurifier(OntoRange, Purifier):
    """Replaces an input by the nearest sample that the generator can make, ``G(z*)`` (Section 3).

    The paper counts on the descents to hide the gradient. They do not: whoever knows them goes back through every step
    of the one that came nearest, and needs no stand-in (:func:`salus.generative.projection.pulled_back`). One who
    searches the generator's range instead (Athalye et al., 2018, Section 5.4.3) finds it in :attr:`generator`, and
    the latents to start from in :meth:`project`.

    Its options are those of :class:`salus.generative.projection.OntoRange`. (The detector has the method's plain name.)
    """

    name: ClassVar[str] = "defense-gan-purifier"

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> DefenseGANPurifier:
        """Take the generator, or train one on clean samples x ``[N, ...]``; labels are not used.

        Raises:
            ModelError: the generator makes other samples than these, or its training failed.
        """
        self.find_generator(classifier, x)
        return self

    @property
    def differentiable(self) -> bool:
        """The descents are."""
        return True

    def purify(self, x: Tensor) -> Tensor:
        """Return the nearest sample that the generator can make; differentiable."""
        return self.nearest(x)

    def settings(self) -> dict[str, Any]:
        """Return the options and what rebuilds the generator beside its weights."""
        return self.made_with()

    def tensors(self) -> dict[str, Tensor]:
        """Return the generator's weights."""
        return self.weights()

    @classmethod
    def restore(
        cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> DefenseGANPurifier:
        """Rebuild the purifier."""
        return cls(**cls.options_of(settings, tensors))
