"""The nine-layer heartbeat network of Acharya et al. (2017), a baseline of the ECG-ATK-GAN papers."""

from __future__ import annotations

from torch import Tensor, nn

from salus.errors import ModelError

MIN_LENGTH = 28  # one sample is left after the last pooling


class Acharya(nn.Module):
    """Three convolutions with pooling between, then three linear layers; no padding, no batch normalisation.

    The paper takes beats of 260 samples, which come out of the layers as 258, 129, 126, 63, 60 and 30; 280 samples
    as 278, 139, 136, 68, 65 and 32. It does not give the slope of its leaky ReLU: 0.01, the usual one. Its softmax
    is left to the loss.

    Args:
        classes: number of classes.
        channels: leads of a beat.
        length: samples of a beat, 28 or more.

    References:
        Acharya et al., "A deep convolutional neural network model to classify heartbeats", Computers in Biology
        and Medicine 89:389-396, 2017.
    """

    def __init__(self, classes: int, channels: int = 1, length: int = 280) -> None:
        super().__init__()
        if length < MIN_LENGTH:
            raise ModelError(f"Model 'acharya' takes signals of {MIN_LENGTH} samples or more, not {length}.")
        self.trunk = nn.Sequential(
            *_block(channels, 5, kernel_size=3),
            *_block(5, 10, kernel_size=4),
            *_block(10, 20, kernel_size=4),
        )
        for kernel_size in (3, 4, 4):
            length = (length - kernel_size + 1) // 2
        self.hidden = nn.Sequential(nn.Linear(20 * length, 30), nn.LeakyReLU(), nn.Linear(30, 20), nn.LeakyReLU())
        self.head = nn.Linear(20, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        states = self.trunk(x).flatten(1)  # [N, 20 * 32] for 280 samples
        logits: Tensor = self.head(self.hidden(states))
        return logits


def _block(before: int, after: int, kernel_size: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(before, after, kernel_size), nn.LeakyReLU(), nn.MaxPool1d(2)
