"""Feature squeezing: does the classifier answer otherwise once the input is simplified? (Xu et al., NDSS 2018)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier, States
from salus.detectors.fitted import FittedDetector
from salus.errors import OptionError
from salus.options import checked
from salus.purifiers.bit_depth import BitDepth, Bits


class FeatureSqueezing(FittedDetector):
    """Rejects an input whose softmax moves much when the input is squeezed.

    The score is ``max_s |softmax(x) - softmax(s(x))|_1`` over the squeezers s (Xu et al., Section V), from 0 to 2,
    whatever the class: rounding to fewer bits, and the median of a window that slides over a signal's time or an
    image's rows and columns; a table, whose columns have no neighbours, is rounded alone. Each squeezer costs one
    forward pass of the classifier.

    The median passes gradients to the value it chose. Rounding has none: an adaptive attacker differentiates through
    it as if it were not there (BPDA, Athalye et al., 2018).

    Args:
        bits: bit depths; the paper has 1 for MNIST and 5 for photographs.
        windows: widths of the median's windows; 2 for images, as in the paper, and 3 for signals when not given.
    """

    name: ClassVar[str] = "feature-squeezing"
    title: ClassVar[str] = "Feature squeezing"

    @checked
    def __init__(
        self,
        *,
        bits: Annotated[tuple[Bits, ...], Field(min_length=1, description="bit depths to round to")] = (5,),
        windows: Annotated[
            Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] | None,
            Field(description="widths of the sliding medians; 2 for images and 3 for signals when not given"),
        ] = None,
    ) -> None:
        super().__init__()
        self.bits = bits
        self.windows = windows

    @property
    def layers(self) -> tuple[str, ...]:
        """None: it reads the input."""
        return ()

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> FeatureSqueezing:
        """Take the classifier; only the threshold is learnt, by calibration.

        Raises:
            OptionError: a window is wider than the samples, or windows are given for a table.
        """
        self.classifier_ = classifier
        sides = tuple(x.shape[2:])
        if self.windows is not None and not sides:
            raise OptionError(f"{self.title}: a table has no neighbouring values; leave windows out.")
        if sides and max(self._widths(x)) > min(sides):
            raise OptionError(f"{self.title}: a window of {max(self._widths(x))} is wider than samples {list(sides)}.")
        return self

    def squeezed(self, x: Tensor) -> list[Tensor]:
        """Return x ``[N, ...]`` after each squeezer; rounding has the gradient of the identity."""
        rounded = [BitDepth(bits=bits, bounds=self.classifier.bounds).purify(x.detach()) for bits in self.bits]
        return [*(x + (each - x).detach() for each in rounded), *(median(x, width) for width in self._widths(x))]

    def class_scores(self, states: States) -> Tensor:
        """Return the largest L1 distance under each class, ``[N, K]``, all alike; differentiable."""
        return self._moved(states, self._squeezed_logits(states))

    def for_attackers(self, states: States) -> tuple[Tensor, Tensor]:
        """Return ``class_acceptance``, and the score plus how far the squeezed input is from each class, in logits.

        Where both softmaxes are sure of different classes the score is at its highest and has no slope left; what
        lowers it is that the squeezed input becomes of the same class.
        """
        squeezed = self._squeezed_logits(states)
        scores = self._moved(states, squeezed)
        top = squeezed.topk(2, dim=2).values  # [S, N, 2]
        highest_other = torch.where(squeezed == top[..., :1], top[..., 1:], top[..., :1])
        missing = (highest_other - squeezed).clamp_min(0).amax(0)  # [N, K]
        return self._accepted(scores), scores + missing

    def _squeezed_logits(self, states: States) -> Tensor:
        """Classify x after each squeezer, ``[S, N, K]``."""
        return torch.stack([self.classifier(x) for x in self.squeezed(states.x)])

    def _moved(self, states: States, squeezed: Tensor) -> Tensor:
        before = states.logits.softmax(1)
        moved = (squeezed.softmax(2) - before).abs().sum(2)  # [S, N]
        return moved.amax(0)[:, None].expand_as(before)

    def _widths(self, x: Tensor) -> tuple[int, ...]:
        defaults = {2: (), 3: (3,), 4: (2,)}
        return defaults[x.ndim] if self.windows is None else self.windows

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        widths = self._widths(torch.empty(0, *self.classifier.shape))
        medians = f"; medians of {', '.join(map(str, widths))}" if widths else ""
        return f"Feature squeezing to {', '.join(map(str, self.bits))} bits{medians}; {self.rule}"


def median(x: Tensor, width: int) -> Tensor:
    """Slide a median over signals ``[N, C, L]`` or images ``[N, C, H, W]``, mirrored at the edges.

    Of an even number of values the upper middle one counts, as in ``scipy.ndimage.median_filter``.
    """
    windows = x
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        place = torch.arange(-(width // 2), size + width - width // 2 - 1, device=x.device) % (2 * size)
        mirrored = torch.where(place < size, place, 2 * size - 1 - place)
        windows = windows.index_select(axis, mirrored).unfold(axis, width, 1)  # one axis of width more at the end
    values = windows.flatten(x.ndim)
    return values.kthvalue(values.shape[-1] // 2 + 1, dim=-1).values
