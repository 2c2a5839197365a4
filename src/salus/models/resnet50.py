"""ResNet50 (He et al., 2016) from torchvision's blocks, one of the two classifiers of the skin-lesion thesis."""

from __future__ import annotations

from torch import Tensor, channels_last, nn

from salus.models.imagenet import Colours, Scale, StemStride, check_images, scale_channels
from salus.models.signal import together
from salus.models.torchvision_ops import load_torchvision
from salus.options import checked

NAME = "resnet50"
SMALLEST = 32  # pixels: one is left after five halvings
EXPANSION = 4  # a block's output has four times as many channels as its 3x3 convolution


class ResNet50(nn.Module):
    """Torchvision's network, without its weights, for images from 0 to 1.

    The parameters are named as torchvision names them, so that its ``resnet50`` weights fit at width 1, whatever
    the stride of the stem. Hidden layers to look at: ``maxpool``, ``layer1`` to ``layer4``, and ``avgpool``, whose
    states are also ``penultimate``.

    Args:
        channels: 3, or 1 for grey images, which are shown to the network as three equal channels.
        rows: of an image, 32 or more.
        columns: of an image, 32 or more.
        classes: number of classes.
        width: how many times as many channels as published every layer has.
        stem_stride: of the first convolution: 2, as published, or 1, for small images: every layer then has twice
            as many rows and columns, and a pass takes about four times as long.

    Raises:
        ModelError: torchvision is missing, or the images or an option will not do.

    References:
        He et al., "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385, Table 1; blocks are
        halved by their 3x3 convolution, as in torchvision.
    """

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
    ) -> None:
        super().__init__()
        check_images(NAME, channels, rows, columns, SMALLEST)
        narrow, *inner = (scale_channels(number, width, NAME) for number in (64, 64, 128, 256, 512))
        self.colours = Colours()
        self.conv1 = nn.Conv2d(3, narrow, 7, stem_stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = [narrow, *(EXPANSION * number for number in inner)]
        self.layer1 = _stage(before[0], inner[0], blocks=3, stride=1)
        self.layer2 = _stage(before[1], inner[1], blocks=4, stride=2)
        self.layer3 = _stage(before[2], inner[2], blocks=6, stride=2)
        self.layer4 = _stage(before[3], inner[3], blocks=3, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before[4], classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.colours(x).contiguous(memory_format=channels_last)
        states = self.maxpool(self.relu(self.bn1(self.conv1(states))))  # [N, 64 width, H / 4, W / 4] at stride 2
        states = self.layer4(self.layer3(self.layer2(self.layer1(states))))  # [N, 2048 width, H / 32, W / 32]
        logits: Tensor = self.fc(self.avgpool(states).flatten(1))
        return logits


def _stage(before: int, inner: int, blocks: int, stride: int) -> nn.Sequential:
    """Make the residual blocks of one size."""
    bottleneck = load_torchvision().models.resnet.Bottleneck
    after = EXPANSION * inner
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    return nn.Sequential(
        bottleneck(before, inner, stride, shortcut), *(bottleneck(after, inner) for _ in range(blocks - 1))
    )


def imagenet() -> ResNet50:
    """Build the network for ImageNet's 1,000 classes at 224x224, as a factory for torchvision's weights.

    ``--model salus.models.resnet50:imagenet --weights resnet50-0676ba61.pth``
    """
    return ResNet50(3, 224, 224, 1000)
