"""The online alternate generator: another image in the input's place, made from scratch (Li et al., 2020)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import leaky_relu, pad, pixel_shuffle, unfold

from salus.classifier import Classifier
from salus.errors import ModelError
from salus.options import checked
from salus.purifiers.base import Bounds, Purifier

#: Images that are made side by side, each by a generator of its own.
_TOGETHER = 16

#: Rates of the generator's Adam, and of the image's, in the units of an image from 0 to 1.
_RATE, _IMAGE_RATE = 0.01, 0.02


class AlternateGenerator(Purifier):
    """Makes another image like the input, by a small generator that nobody trained before.

    For each input a convolution network with random weights, and an image of noise that it is shown, learn in turns
    to give the input back: one step of the network's weights, one of the image, a little fresh noise in between. They
    are stopped early, when the coarse shape is there and the finest detail is not, which is hoped to hold the attack.
    There are no weights that an attacker could have got hold of. The paper's networks are larger and take more steps,
    and its loss compares features as well; here values alone are compared (mean squared error), as in the deep image
    prior (Ulyanov et al., 2018). Its draws are the seed's, the same for every image, so that a verdict can be
    repeated: whoever knows the seed knows all of it.

    Attackers pass it as if it changed nothing (BPDA, Athalye et al., 2018): what it gives is nearly what it was given.

    Args:
        steps: turns of the network and of the image.
        width: channels of the network.
        noise: standard deviation of what is added to the image at each turn, in the units of an image from 0 to 1.
        seed: decides first weights, first image and noise.
        bounds: lowest and highest value of x.

    Raises:
        OptionError: an option makes no sense.

    References:
        Li, Zeng, Li, Lin and Yu, "Online alternate generator against adversarial attacks", IEEE Transactions on Image
        Processing 29, 2020, arXiv:2009.08110.
    """

    name: ClassVar[str] = "alternate-generator"
    title: ClassVar[str] = "Alternate generator"

    @checked
    def __init__(
        self,
        *,
        steps: Annotated[int, Field(ge=1, description="turns of the network and of the image")] = 100,
        width: Annotated[int, Field(ge=1, description="channels of the network")] = 16,
        noise: Annotated[float, Field(ge=0, description="deviation of what is added to the image at each turn")] = 0.03,
        seed: Annotated[int, Field(description="of first weights, first image and noise")] = 0,
        bounds: Bounds = (0.0, 1.0),
    ) -> None:
        self.steps, self.width, self.noise, self.seed = steps, width, noise, seed
        self.bounds = bounds

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> AlternateGenerator:
        """Learn nothing, but refuse samples that are no images.

        Raises:
            ModelError: they are none.
        """
        self._check(x)
        return self

    def purify(self, x: Tensor) -> Tensor:
        """Make another image for each of ``[N, C, H, W]``; what stands beside it in the batch does not matter.

        Raises:
            ModelError: x holds no images.
        """
        self._check(x)
        low, high = self.bounds
        with torch.inference_mode(False), torch.enable_grad():
            parts = [self._made((part.detach().clone() - low) / (high - low)) for part in x.split(_TOGETHER)]
        made = torch.cat(parts) if parts else x
        return (made * (high - low) + low).clamp(low, high).to(x.dtype)

    def settings(self) -> dict[str, Any]:
        """Return the options and the bounds."""
        return {
            "steps": self.steps,
            "width": self.width,
            "noise": self.noise,
            "seed": self.seed,
            "bounds": list(self.bounds),
        }

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4:
            raise ModelError(f"The alternate generator takes images [N, C, H, W], not {list(x.shape)}.")

    def _made(self, images: Tensor) -> Tensor:
        """Let a generator for each of the images ``[n, C, H, W]``, from 0 to 1, and its own image learn in turns."""
        draws = torch.Generator().manual_seed(self.seed)
        count, channels = images.shape[:2]
        shapes = ((self.width, channels, 5), (self.width, self.width, 3), (4 * channels, self.width, 3))
        weights = [
            torch.randn(1, out, into, size, size, generator=draws)
            .mul(math.sqrt(2 / (into * size * size)))
            .to(images)
            .repeat(count, 1, 1, 1, 1)
            .requires_grad_()
            for out, into, size in shapes
        ]
        biases = [images.new_zeros(count, out).requires_grad_() for out, _, _ in shapes]
        seen = torch.rand(1, *images.shape[1:], generator=draws).to(images).repeat(count, 1, 1, 1).requires_grad_()
        network = torch.optim.Adam([*weights, *biases], lr=_RATE)
        image = torch.optim.Adam([seen], lr=_IMAGE_RATE)
        for turn in range(2 * self.steps):
            fresh = self.noise * torch.randn(1, *images.shape[1:], generator=draws).to(images)
            # A sum over images of means over values: what is learnt for one has nothing of another.
            loss = (_generated(seen + fresh, weights, biases) - images).square().flatten(1).mean(1).sum()
            network.zero_grad()
            image.zero_grad()
            loss.backward()
            (network if turn % 2 == 0 else image).step()
        with torch.no_grad():
            return _generated(seen, weights, biases)


def _generated(seen: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Run a generator for each of the images ``[n, C, H, W]``: at half its size, then spread over pixels again.

    A convolution with other weights for each image is a product of matrices for each: many times as fast here as one
    grouped convolution.
    """
    rows, columns = seen.shape[2:]
    height, width = -(-rows // 2), -(-columns // 2)
    states = seen
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        size = weight.shape[-1]
        padded = pad(states, (size // 2,) * 4, mode="replicate")
        patches = unfold(padded, size, stride=2 if place == 0 else 1)  # [n, into * size * size, height * width]
        states = torch.baddbmm(bias[:, :, None], weight.flatten(2), patches).unflatten(2, (height, width))
        if place < len(weights) - 1:
            states = leaky_relu(states, 0.1)
    return pixel_shuffle(states, 2)[..., :rows, :columns].sigmoid()
