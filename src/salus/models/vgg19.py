"""VGG19 (Simonyan and Zisserman, 2015) from torchvision, I-defender's classifier of ImageNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.torchvision_ops import load_torchvision

SMALLEST = 32  # pixels: one is left after the fifth pooling

#: Of ImageNet's colours: torchvision's weights take images from which these are subtracted and divided out.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """Torchvision's network, without its weights, for images from 0 to 1.

    The parameters are named as torchvision names them, so that its ``vgg19`` weights, a file of
    ``torch.save(model.state_dict())``, fit 1,000 classes.

    Args:
        channels: 3, or 1 for grey images, which are shown to the network as three equal channels.
        height: of an image, 32 or more.
        width: of an image, 32 or more.
        classes: number of classes.
        dropout: share of the values that training drops after each hidden linear layer.

    Raises:
        ModelError: torchvision is missing, or the images do not suit.

    References:
        Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
        arXiv:1409.1556, configuration E.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, height: int, width: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        if min(height, width) < SMALLEST or channels not in (1, 3):
            raise ModelError(
                f"Model 'vgg19' takes grey or colour images of {SMALLEST}x{SMALLEST} or more, not {channels} "
                f"channel{'s' * (channels > 1)} of {height}x{width}."
            )
        network = load_torchvision().models.vgg19(weights=None, num_classes=classes, dropout=dropout)
        self.features: nn.Module = network.features
        self.avgpool: nn.Module = network.avgpool
        self.classifier: nn.Module = network.classifier
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        coloured = x.expand(-1, 3, -1, -1)
        states = self.features((coloured - self.mean) / self.std)  # [N, 512, H / 32, W / 32]
        logits: Tensor = self.classifier(self.avgpool(states).flatten(1))
        return logits


def imagenet() -> VGG19:
    """Build the network for ImageNet's 1,000 classes at 224x224, as a factory for torchvision's weights.

    ``--model salus.models.vgg19:imagenet --weights vgg19-dcbb9e9d.pth``
    """
    return VGG19(3, 224, 224, 1000)
