"""Inception V3 (Szegedy et al., 2016) from torchvision, one of the two classifiers of the skin-lesion thesis."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, channels_last, nn

from salus.models.imagenet import Colours, Scale, StemStride, check_images, scale_channels
from salus.models.options import Dropout
from salus.models.signal import together
from salus.models.torchvision_ops import load_torchvision
from salus.options import checked

NAME = "inception-v3"
SMALLEST = {2: 75, 1: 39}  # pixels, by the stride of the stem: one is left at the end
HALF = (0.5, 0.5, 0.5)  # its weights, which Google trained, take values from -1 to 1


class InceptionV3(nn.Module):
    """Torchvision's network without its auxiliary head, and without its weights, for images from 0 to 1.

    The parameters are named as torchvision names them, so that its ``inception_v3`` weights fit at width 1,
    whatever the stride of the stem; those of the auxiliary head, which only training uses, are left out. Hidden
    layers to look at: ``maxpool1``, ``maxpool2``, ``Mixed_5d``, ``Mixed_6e``, ``Mixed_7c``, and ``avgpool``, whose
    states are also ``penultimate``.

    Small images are not scaled up; the stem's stride is lowered, as in networks for CIFAR. At 64 pixels that leaves
    2x2 positions at the end, where scaling up to 75 leaves one from no more detail, in half the time.

    Args:
        channels: 3, or 1 for grey images, which are shown to the network as three equal channels.
        rows: of an image, 75 or more, or 39 or more with ``stem_stride=1``.
        columns: of an image, likewise.
        classes: number of classes.
        width: how many times as many channels as published every layer has.
        stem_stride: of the first convolution: 2, as published, or 1, for small images: every layer then has about
            twice as many rows and columns, and a pass takes about four times as long.
        dropout: share of the pooled values that training drops before the last layer.

    Raises:
        ModelError: torchvision is missing, or the images or an option will not do.

    References:
        Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, arXiv:1512.00567.
    """

    spare_weights = ("AuxLogits.",)  # that published files hold beside the network's own

    @checked
    def __init__(
        self,
        channels: int,
        rows: int,
        columns: int,
        classes: int,
        *,
        width: Scale = 1.0,
        stem_stride: StemStride = 2,
        dropout: Dropout = 0.5,
    ) -> None:
        super().__init__()
        remedy = f" ({SMALLEST[1]}x{SMALLEST[1]} with stem_stride=1)" if stem_stride == 2 else ""
        check_images(NAME, channels, rows, columns, SMALLEST[stem_stride], remedy)
        self.colours = Colours(HALF, HALF)
        network = _torchvision_network(width, dropout)
        network.Conv2d_1a_3x3.conv.stride = (stem_stride, stem_stride)
        network.fc = nn.Linear(scale_channels(2048, width, NAME), classes)
        for name, part in network.named_children():
            self.add_module(name, part)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = x.contiguous(memory_format=channels_last)
        for name, part in self.named_children():  # one after the other
            states = part(states if name != "fc" else states.flatten(1))
        return states


def _torchvision_network(width: float, dropout: float) -> Any:
    """Build torchvision's network, every convolution so many times as wide."""
    inception = load_torchvision().models.inception

    def convolution(before: int, after: int, **options: Any) -> nn.Module:
        channels = before if before == 3 else scale_channels(before, width, NAME)  # the colours stay three
        layer: nn.Module = inception.BasicConv2d(channels, scale_channels(after, width, NAME), **options)
        return layer

    kinds = [getattr(inception, f"Inception{letter}") for letter in "ABCDE"]
    blocks = [convolution, *(partial(block, conv_block=convolution) for block in kinds), inception.InceptionAux]
    # Its own draw of weights, and no warning that it may change; the head's is PyTorch's usual one.
    return inception.Inception3(aux_logits=False, inception_blocks=blocks, init_weights=True, dropout=dropout)


def imagenet() -> InceptionV3:
    """Build the network for ImageNet's 1,000 classes at 299x299, as a factory for torchvision's weights.

    ``--model salus.models.inception_v3:imagenet --weights inception_v3_google-0cc3c7bd.pth``
    """
    return InceptionV3(3, 299, 299, 1000)
