"""VGG19 (Simonyan and Zisserman, 2015) from torchvision, I-defender's classifier of ImageNet."""

from __future__ import annotations

from torch import Tensor, nn

from salus.models.imagenet import Colours, check_images
from salus.models.options import Dropout
from salus.models.torchvision_ops import load_torchvision
from salus.options import checked

SMALLEST = 32  # pixels: one is left after the fifth pooling


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

    @checked
    def __init__(self, channels: int, height: int, width: int, classes: int, *, dropout: Dropout = 0.5) -> None:
        super().__init__()
        check_images("vgg19", channels, height, width, SMALLEST)
        network = load_torchvision().models.vgg19(weights=None, num_classes=classes, dropout=dropout)
        self.colours = Colours()
        self.features: nn.Module = network.features
        self.avgpool: nn.Module = network.avgpool
        self.classifier: nn.Module = network.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.features(self.colours(x))  # [N, 512, H / 32, W / 32]
        logits: Tensor = self.classifier(self.avgpool(states).flatten(1))
        return logits


def imagenet() -> VGG19:
    """Build the network for ImageNet's 1,000 classes at 224x224, as a factory for torchvision's weights.

    ``--model salus.models.vgg19:imagenet --weights vgg19-dcbb9e9d.pth``
    """
    return VGG19(3, 224, 224, 1000)
